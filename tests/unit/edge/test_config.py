"""The edge's configuration says what the contracts say, and Envoy accepts it."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.contract import methods
from mesh.edge.browsers import CSRF
from mesh.edge.config import edge_config
from mesh.edge.limits import NAMESPACE
from mesh.edge.replies import replies
from mesh.edge.routes import NO_BUFFER, all_routes, path_matcher
from mesh.edge.targets import Doors, EdgeTargets
from mesh.http.errors import http_status
from mesh.local import envoy
from mesh.rates import BUILT_IN

DOORS = Doors(grpc="127.0.0.1:7001", http="127.0.0.1:7002")


def targets(folder: Path) -> EdgeTargets:
    domains = {method.domain for method in methods().values()}
    return EdgeTargets("127.0.0.1:7000", folder / "admin.sock", "https://issuer", dict.fromkeys(domains, DOORS), DOORS)


def first_match(path: str, *, is_grpc: bool = False) -> dict[str, object]:
    """The route of a POST with this path."""
    for route in all_routes(methods()):
        match = route["match"]
        wanted = {header["name"]: header for header in match.get("headers", ())}
        if {"access-control-request-method", "cookie"} & set(wanted) or ("content-type" in wanted and not is_grpc):
            continue
        if wanted.get(":method", {}).get("invert_match"):
            continue
        pattern = match.get("safe_regex", {}).get("regex")
        if match.get("path") == path or (pattern and re.fullmatch(pattern, path)) or path.startswith(match.get("prefix", "\0")):
            return dict(route)
    raise AssertionError(f"nothing matches {path}")


def test_envoy_accepts_it(tmp_path: Path) -> None:
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(edge_config(methods(), targets(tmp_path))))
    command = [str(envoy.binary()), "--mode", "validate", "-c", str(config), "--use-dynamic-base-id"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("method", [m for m in methods().values() if "edge" in m.callers], ids=lambda m: m.full_name)
def test_every_method_of_clients_has_both_routes_with_its_times(method: object) -> None:
    assert hasattr(method, "http")
    grpc_route = first_match(method.full_name, is_grpc=True)["route"]  # type: ignore[attr-defined]
    rest_path = re.sub(r"\{[^}]*\}", "some-id", method.http.path)
    rest_route = first_match(rest_path)["route"]
    assert isinstance(grpc_route, dict)
    assert isinstance(rest_route, dict)
    domain, is_stream = method.domain, method.is_server_streaming  # type: ignore[attr-defined]
    assert grpc_route["cluster"] == f"{domain}.grpc"
    assert rest_route["cluster"] == f"{domain}.http"
    if is_stream:
        assert grpc_route["timeout"] == rest_route["timeout"] == "0s"
    else:
        assert float(rest_route["timeout"].rstrip("s")) > method.timeout_s  # type: ignore[attr-defined]


def test_only_idempotent_methods_are_repeated_after_a_broken_connection() -> None:
    for method in methods().values():
        if "edge" in method.callers:
            route = first_match(method.full_name, is_grpc=True)["route"]
            assert isinstance(route, dict)
            assert ("reset" in route["retry_policy"]["retry_on"].split(",")) == method.is_idempotent


def test_an_answer_is_never_asked_for_again() -> None:
    safe = {"connect-failure", "refused-stream", "reset-before-request", "reset"}
    for route in all_routes(methods()):
        policy = route.get("route", {}).get("retry_policy", {"retry_on": "reset"})
        assert set(policy["retry_on"].split(",")) <= safe


def test_methods_for_the_mesh_alone_have_no_route() -> None:
    routed = {route["match"].get("path") for route in all_routes(methods())}
    for method in methods().values():
        assert ("edge" in method.callers) == (method.full_name in routed)


def test_unknown_paths_end_at_the_edge_and_the_rest_goes_to_the_gateway() -> None:
    assert first_match("/v1/nothing")["direct_response"] == {"status": 404}
    for path in ("/v1/ws", "/v1/ws-tickets", "/graphql", "/"):
        route = first_match(path)["route"]
        assert isinstance(route, dict)
        assert route["cluster"] == "gateway"


def test_sockets_are_not_collected_before_they_are_passed_on() -> None:
    routes = [route for route in all_routes(methods()) if route["match"].get("path") in {"/v1/ws", "/graphql"}]
    assert [route["match"].get("headers", [{}])[0].get("name") for route in routes] == [None, "upgrade"]
    assert all(route["typed_per_filter_config"] == NO_BUFFER for route in routes)


def test_each_route_counts_in_the_class_of_its_contract() -> None:
    for method in methods().values():
        if "edge" in method.callers and method.http:
            assert classes_of(first_match(method.full_name, is_grpc=True)) == {"POST": method.rate_class}
            found = classes_of(first_match(re.sub(r"\{[^}]*\}", "some-id", method.http.path)))
            assert found[method.http.verb] == method.rate_class
            assert method.http.verb != "GET" or found["HEAD"] == method.rate_class


def test_whatever_leads_anywhere_is_counted() -> None:
    for route in all_routes(methods()):
        is_preflight = any(header["name"] == "access-control-request-method" for header in route["match"].get("headers", ()))
        assert is_preflight or "direct_response" in route or set(classes_of(route).values()) <= set(BUILT_IN), route
        assert is_preflight or "direct_response" in route or classes_of(route), route
    assert classes_of(first_match("/v1/ws")) == {"GET": "stream"}


def classes_of(route: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = route.get("metadata", {}).get("filter_metadata", {}).get(NAMESPACE, {})
    return found


def test_streams_have_no_limit_of_time_or_silence() -> None:
    for method in methods().values():
        if "edge" in method.callers and method.is_server_streaming and method.http:
            for path, is_grpc in ((method.full_name, True), (re.sub(r"\{[^}]*\}", "some-id", method.http.path), False)):
                route = first_match(path, is_grpc=is_grpc)["route"]
                assert isinstance(route, dict)
                assert route["timeout"] == route["idle_timeout"] == "0s"


def test_a_path_that_takes_a_cookie_is_guarded_where_one_comes() -> None:
    known = {name: replace(method, cookie="session") if method.name == "Refresh" else method for name, method in methods().items()}
    routes = [route for route in all_routes(known) if route["match"].get("path") == "/v1/auth/refresh"]
    assert [CSRF in route.get("typed_per_filter_config", {}) for route in routes] == [True, False]
    assert routes[0]["match"]["headers"] == [{"name": "cookie", "string_match": {"contains": "session="}}]


def test_what_is_no_grpc_does_not_get_to_a_grpc_door() -> None:
    for method in methods().values():
        assert first_match(method.full_name)["direct_response"] == {"status": 415}


def test_each_reply_of_envoy_has_the_status_of_its_error_over_our_own_door() -> None:
    own = {400, 401, 403, 404, 413, 415, 429, 503, 504}
    seen = set()
    for reply in replies():
        for text in re.findall(r"response\.code == (\d+)", reply.condition):
            seen.add(int(text))
            if int(text) in own:
                assert http_status(reply.error) == int(text), reply
        if reply.status:
            assert http_status(reply.error) == reply.status
    assert own <= seen


def test_a_verb_behind_a_colon_is_part_of_the_path_not_of_the_id() -> None:
    plain = path_matcher("/v1/graphs/{graph_id}")["safe_regex"]["regex"]
    custom = path_matcher("/v1/graphs/{graph_id}:export")["safe_regex"]["regex"]
    assert re.fullmatch(plain, "/v1/graphs/abc")
    assert not re.fullmatch(plain, "/v1/graphs/abc/versions")
    assert re.fullmatch(custom, "/v1/graphs/abc:export")
    assert not re.fullmatch(custom, "/v1/graphs/abc")


def test_of_the_mesh_s_own_headers_only_the_administrators_passes(tmp_path: Path) -> None:
    config = edge_config(methods(), targets(tmp_path))
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    mutation = next(f for f in manager["http_filters"] if f["name"].endswith("header_mutation"))["typed_config"]["mutations"]
    pattern = mutation["request_mutations"][0]["remove_on_match"]["key_matcher"]["safe_regex"]["regex"]
    for name in ("x-treadle-service-token", "x-treadle-", "x-treadle-o", "x-treadle-other", "x-treadle-user-id"):
        assert re.fullmatch(pattern, name), name
    for name in ("x-treadle-on-behalf-of", "x-request-id", "authorization"):
        assert not re.fullmatch(pattern, name), name


def test_strangers_are_stopped_exactly_where_the_contract_says(tmp_path: Path) -> None:
    listener = edge_config(methods(), targets(tmp_path))["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    rules = next(f for f in manager["http_filters"] if f["name"].endswith("jwt_authn"))["typed_config"]["rules"]
    needs = {rule["match"].get("path"): "requires" in rule for rule in rules}
    for method in methods().values():
        if "edge" in method.callers:
            assert needs[method.full_name] == (not method.is_public)
    assert listener["enable_reuse_port"] is False
