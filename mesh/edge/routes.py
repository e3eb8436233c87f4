"""Routes from the contracts: gRPC paths to the gRPC doors, REST paths to the HTTP doors, the rest to the gateway."""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from mesh.contract import Method
from mesh.edge.browsers import csrf_on
from mesh.edge.limits import classes, route_metadata
from mesh.edge.policy import DEFAULT_POLICY, EdgePolicy

EDGE = "edge"
GATEWAY_CLUSTER = "gateway"
# The edge gives up a little later than the service, so that the service's own, better error wins.
_TIMEOUT_MARGIN_S = 1.0
# The verbs that some path takes.
VERBS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_SHARED_GRPC_SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "grpc.health.v1.Health")
_VARIABLE = re.compile(r"\\\{[^}]*\\\}")

Json = dict[str, Any]

# gRPC and gRPC-Web. A gRPC server breaks off what comes with another type, which would look as if it were away.
_IS_GRPC: list[Json] = [
    {"name": ":method", "string_match": {"exact": "POST"}},
    {"name": "content-type", "string_match": {"prefix": "application/grpc"}},
]

_IS_PREFLIGHT: list[Json] = [
    {"name": ":method", "string_match": {"exact": "OPTIONS"}},
    {"name": "access-control-request-method", "present_match": True},
]

_IS_ODD_VERB: Json = {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(VERBS)}}, "invert_match": True}

GRAPHQL_PATH = "/graphql"
_IS_UPGRADE: Json = {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}

# A stream may be silent for hours. Pings to the client and to the service find out who is gone.
_ENDLESS: Json = {"timeout": "0s", "idle_timeout": "0s"}


def grpc_cluster(domain: str) -> str:
    """Name of the cluster of a domain's gRPC doors."""
    return f"{domain}.grpc"


def http_cluster(domain: str) -> str:
    """Name of the cluster of a domain's HTTP doors."""
    return f"{domain}.http"


def edge_methods(methods: Iterable[Method]) -> list[Method]:
    """The methods that clients may call."""
    return [method for method in methods if EDGE in method.callers]


def rest_matchers(methods: Iterable[Method]) -> list[tuple[Json, list[Method]]]:
    """One Envoy path matcher per REST path, with the methods on it; the more literal path comes first."""
    with_route = sorted((method for method in methods if method.http), key=_path)
    paths = [(path, list(group)) for path, group in groupby(with_route, key=_path)]
    paths.sort(key=lambda item: (item[0].count("{"), -_literal_length(item[0]), item[0]))
    return [(path_matcher(path), group) for path, group in paths]


def path_matcher(template: str) -> Json:
    """An Envoy matcher for a path template such as `/v1/graphs/{graph_id}:activate`."""
    if "{" not in template:
        return {"path": template}
    return {"safe_regex": {"regex": _VARIABLE.sub("[^/]+", re.escape(template))}}


def all_routes(methods: Mapping[str, Method], policy: EdgePolicy = DEFAULT_POLICY) -> list[Json]:
    """The route table, first match wins."""
    callable_methods = edge_methods(methods.values())
    # Also of services that have nothing for clients: they say so themselves.
    domains = {method.service: method.domain for method in methods.values()}
    shared = next(iter(domains.values()))
    return [
        {"match": {"prefix": "/", "headers": [_IS_ODD_VERB]}, "direct_response": {"status": 405}},
        # The CORS filter answers for any route that leads to a cluster; only origins that it does not know get past it.
        {"match": {"prefix": "/", "headers": _IS_PREFLIGHT}, "route": {"cluster": GATEWAY_CLUSTER}},
        *(_grpc_route(method) for method in callable_methods),
        # Methods that do not exist, so that the service says so.
        *(_grpc_prefix(service, domain) for service, domain in domains.items()),
        *(_grpc_prefix(service, shared) for service in _SHARED_GRPC_SERVICES),
        *({"match": {"prefix": f"/{service}/"}, "direct_response": {"status": 415}} for service in (*domains, *_SHARED_GRPC_SERVICES)),
        *(route for matcher, group in rest_matchers(callable_methods) for route in _rest_routes(matcher, group, policy)),
        # The socket's upgrade request has no end that a buffer could wait for.
        {**_gateway_route({"path": "/v1/ws"}, GET="stream"), "typed_per_filter_config": NO_BUFFER},
        {**_gateway_route({"path": GRAPHQL_PATH, "headers": [_IS_UPGRADE]}, GET="stream"), "typed_per_filter_config": NO_BUFFER},
        _gateway_route({"path": "/v1/ws-tickets"}, POST="write"),
        {"match": {"prefix": "/v1/"}, "direct_response": {"status": 404}},
        {"match": {"prefix": "/treadle."}, "direct_response": {"status": 404}},
        _gateway_route({"prefix": "/"}, GET="read", POST="write"),
    ]


def _grpc_route(method: Method) -> Json:
    return {
        "match": {"path": method.full_name, "headers": _IS_GRPC},
        "route": {"cluster": grpc_cluster(method.domain), **_times(method), "retry_policy": _retries(method.is_idempotent)},
        "typed_per_filter_config": NO_BUFFER,
        **route_metadata({"POST": method.rate_class}),
    }


def _grpc_prefix(service: str, domain: str) -> Json:
    return {
        "match": {"prefix": f"/{service}/", "headers": _IS_GRPC},
        "route": {"cluster": grpc_cluster(domain), **_ENDLESS},
        "typed_per_filter_config": NO_BUFFER,
        **route_metadata({"POST": "read"}),
    }


def _rest_routes(matcher: Json, methods: list[Method], policy: EdgePolicy) -> list[Json]:
    """The route of a path; where a method takes a cookie, before it one for requests that bring it, which only some pages may send."""
    route = _rest_route(matcher, methods)
    cookies = [method.cookie for method in methods if method.takes_cookie]
    guarded = [{"name": "cookie", "string_match": {"contains": f"{cookie}="}} for cookie in cookies]
    return [*({**route, "match": {**matcher, "headers": [it]}, "typed_per_filter_config": csrf_on(policy)} for it in guarded), route]


def _rest_route(matcher: Json, methods: list[Method]) -> Json:
    slowest = max(methods, key=lambda method: (method.is_server_streaming, method.timeout_s))
    repeatable = all(method.is_idempotent for method in methods)
    action = {"cluster": http_cluster(slowest.domain), **_times(slowest), "retry_policy": _retries(repeatable)}
    return {"match": matcher, "route": action, **classes(methods)}


def _gateway_route(matcher: Json, **class_by_verb: str) -> Json:
    """What is no RPC has its rate classes here, by verb."""
    return {
        **route_metadata(class_by_verb),
        "match": matcher,
        "route": {
            "cluster": GATEWAY_CLUSTER,
            **_ENDLESS,
            "retry_policy": _retries(False),
            "upgrade_configs": [{"upgrade_type": "websocket", "enabled": True}],
        },
    }


def _times(method: Method) -> Json:
    if method.is_server_streaming:
        return _ENDLESS
    return {"timeout": f"{method.timeout_s + _TIMEOUT_MARGIN_S:g}s"}


def _retries(is_idempotent: bool) -> Json:
    """What never reached the service is tried again for every method, a broken connection only where a repeat does no harm.

    An answer is never asked for again, whatever it says: services retry what they call, and a second layer of it would multiply.
    """
    return {
        "retry_on": ",".join(["connect-failure", "refused-stream", "reset-before-request", *(["reset"] if is_idempotent else [])]),
        "num_retries": 5,
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.02s", "max_interval": "0.5s"},
    }


def _path(method: Method) -> str:
    return method.http.path if method.http else ""


def _literal_length(template: str) -> int:
    return len(re.sub(r"\{[^}]*\}", "", template))


# gRPC has its own message limit, and a stream must not be collected before it is passed on.
NO_BUFFER: Json = {
    "envoy.filters.http.buffer": {"@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute", "disabled": True}
}
