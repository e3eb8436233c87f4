"""The edge as strangers and clients see it."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mesh.identity.service_token import ServiceTokens
from mesh.local.keys import load_keys
from tests.e2e.conftest import Stack

GRPCURL = str(Path(sys.executable).parent / "grpcurl")


def error(response: httpx.Response) -> tuple[int, int, str]:
    """HTTP status, code and reason of an error in our shape."""
    body = response.json()
    assert response.headers["content-type"].startswith("application/json")
    assert body["message"]
    return response.status_code, body["code"], body["details"][0]["reason"]


def test_unknown_routes_are_404_in_our_json(client: httpx.Client) -> None:
    for path in ("/v1/nothing", "/v1/graphs/a/b/c", "/treadle.graph.v1.NoService/Get"):
        assert error(client.get(path)) == (404, 5, "ROUTE_UNKNOWN")
    assert error(client.get("/nothing"))[:2] == (404, 5)


def test_who_shows_no_token_or_a_bad_one_is_401(client: httpx.Client, stack: Stack) -> None:
    url = f"{stack.status['edge_url']}/v1/users/me"
    assert error(httpx.get(url)) == (401, 16, "TOKEN_MISSING")
    good = client.headers["authorization"].removeprefix("Bearer ")
    header, claims, signature = good.split(".")
    forged = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged["sub"] = "someone-else"
    other = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    for bad in ("nonsense", f"{header}.{other}.{signature}", f"{header}.{claims}.", f"{header}.{claims}.AAAA"):
        assert error(httpx.get(url, headers={"authorization": f"Bearer {bad}"})) == (401, 16, "TOKEN_INVALID")
    assert client.get("/v1/users/me").status_code == 200


def test_a_large_body_is_413(client: httpx.Client) -> None:
    status, _, _ = error(client.post("/v1/graphs", content=b'{"name":"' + b"x" * (20 * 1024 * 1024) + b'"}'))
    assert status == 413


def test_a_wrong_verb_is_405(client: httpx.Client) -> None:
    response = client.request("DELETE", "/v1/blocks")
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]


def test_headers_of_the_mesh_do_not_pass(client: httpx.Client, stack: Stack) -> None:
    genuine = _service_token(stack, "gateway")
    for token in ("forged", genuine):
        assert client.get("/v1/users/me", headers={"x-treadle-service-token": token}).status_code == 200
    # Inside, the gateway may ask without a user.
    anonymous = httpx.get(f"{stack.status['edge_url']}/v1/users/me", headers={"x-treadle-service-token": genuine})
    assert error(anonymous) == (401, 16, "TOKEN_MISSING")


def _service_token(stack: Stack, workload: str) -> str:
    """As a process of this very stack would sign it."""
    return ServiceTokens(base64.b64decode(load_keys(stack.home).service_key)).token(workload)


def test_pages_on_this_machine_may_call_and_others_may_not(client: httpx.Client) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type,idempotency-key"}
    for origin, is_welcome in (("http://localhost:5173", True), ("https://evil.example", False)):
        preflight = client.options("/v1/executions", headers={"origin": origin, **asked})
        actual = client.get("/v1/blocks", headers={"origin": origin})
        assert actual.status_code == 200
        for answer in (preflight, actual):
            assert answer.headers.get("access-control-allow-origin") == (origin if is_welcome else None)
        exposed = actual.headers.get("access-control-expose-headers", "")
        assert all(name in exposed for name in ("etag", "grpc-status", "retry-after", "x-request-id")) == is_welcome


def test_the_id_of_a_request_comes_back(client: httpx.Client) -> None:
    for path in ("/v1/users/me", "/v1/nothing", "/v1/ws-tickets", "/v1/graphs/none"):
        assert client.get(path, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"


def test_keys_are_public(stack: Stack) -> None:
    keys = httpx.get(f"{stack.status['edge_url']}/.well-known/jwks.json").json()["keys"]
    assert keys
    assert all("d" not in key for key in keys)


def grpcurl(stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    header = f"authorization: Bearer {stack.treadle('token').strip()}"
    target = stack.status["grpc_target"]
    return subprocess.run(
        [GRPCURL, "-plaintext", "-H", header, *words[:-1], target, words[-1]], capture_output=True, text=True, check=False
    )


def test_reflection_lists_every_service(stack: Stack) -> None:
    listed = grpcurl(stack, "list").stdout.split()
    for domain in ("auth", "user", "graph", "block", "execution", "audit"):
        assert f"treadle.{domain}.v1.{domain.capitalize()}Service" in listed
    assert "grpc.health.v1.Health" in listed


def test_health_answers_for_each_service(stack: Stack) -> None:
    for domain in ("auth", "user", "graph", "block", "execution", "audit"):
        body = json.dumps({"service": f"treadle.{domain}.v1.{domain.capitalize()}Service"})
        answer = grpcurl(stack, "-d", body, "grpc.health.v1.Health/Check")
        assert '"SERVING"' in answer.stdout, answer.stderr


@pytest.mark.parametrize("is_text", [False, True])
def test_browsers_speak_grpc_web(client: httpx.Client, is_text: bool) -> None:
    content_type = "application/grpc-web-text" if is_text else "application/grpc-web+proto"
    empty_message = b"\0\0\0\0\0"
    body = base64.b64encode(empty_message) if is_text else empty_message
    headers = {"content-type": content_type, "accept": content_type, "x-grpc-web": "1"}
    response = client.post("/treadle.user.v1.UserService/GetMe", content=body, headers=headers)
    assert response.status_code == 200
    # The text form is a row of pieces, each padded by itself.
    pieces = [response.content[n : n + 4] for n in range(0, len(response.content), 4)]
    answer = b"".join(map(base64.b64decode, pieces)) if is_text else response.content
    assert b"owner@treadle.example" in answer
    assert b"grpc-status:0" in answer
