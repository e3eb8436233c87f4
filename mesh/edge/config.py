"""The whole Envoy configuration of the edge. Pure: contracts and targets in, a JSON document out."""

from collections.abc import Mapping
from typing import Any

from mesh.contract import Method
from mesh.edge.authentication import jwt_filter
from mesh.edge.clusters import all_clusters
from mesh.edge.replies import local_reply_config
from mesh.edge.routes import all_routes
from mesh.edge.targets import EdgeTargets, split
from mesh.limits import READ_BEYOND

Json = dict[str, Any]

_MAX_CONNECTIONS = 50_000
_TYPES = "type.googleapis.com/envoy.extensions"
_ALLOWED_HEADERS = (
    "authorization, content-type, idempotency-key, if-match, if-none-match, x-grpc-web, x-user-agent, grpc-timeout, x-request-id"
)
_EXPOSED_HEADERS = "allow, etag, grpc-message, grpc-status, grpc-status-details-bin, retry-after, www-authenticate, x-request-id"
_LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


def edge_config(methods: Mapping[str, Method], targets: EdgeTargets) -> Json:
    """The bootstrap document, ready to be written as JSON."""
    return {
        "node": {"id": "edge", "cluster": "treadle"},
        "admin": {"address": {"pipe": {"path": str(targets.admin_socket), "mode": 0o600}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPES}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": _MAX_CONNECTIONS,
                    },
                }
            ]
        },
        "static_resources": {"listeners": [_listener(methods, targets)], "clusters": all_clusters(targets)},
    }


def _listener(methods: Mapping[str, Method], targets: EdgeTargets) -> Json:
    host, port = split(targets.listen)
    return {
        "name": "edge",
        "address": {"socket_address": {"address": host, "port_value": port}},
        # With port sharing another server could silently take a part of the calls.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [{"filters": [_connection_manager(methods, targets)]}],
    }


def _connection_manager(methods: Mapping[str, Method], targets: EdgeTargets) -> Json:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "edge",
            "codec_type": "AUTO",
            "server_name": "treadle",
            "use_remote_address": True,
            # The id that a client gives its request is the one in the logs, and comes back.
            "preserve_external_request_id": True,
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "common_http_protocol_options": {"idle_timeout": "3600s", "headers_with_underscores_action": "REJECT_REQUEST"},
            "http2_protocol_options": {"max_concurrent_streams": 1000},
            "request_headers_timeout": "10s",
            # The edge holds a body until it is whole; over once an answer begins, so streams may last.
            "request_timeout": "120s",
            "stream_idle_timeout": "300s",
            "upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}],
            "local_reply_config": local_reply_config(targets.max_body_bytes),
            "http_filters": _filters(methods, targets),
            "route_config": {"name": "edge", "virtual_hosts": [_virtual_host(methods)]},
            "access_log": [_error_log()],
        },
    }


def _filters(methods: Mapping[str, Method], targets: EdgeTargets) -> list[Json]:
    """In the order in which they see a request."""
    return [
        _filter("header_mutation", "HeaderMutation", mutations={"request_mutations": [_remove_own_headers()]}),
        _filter("cors", "Cors"),
        _filter("grpc_web", "GrpcWeb"),
        jwt_filter(methods, targets.issuer, targets.keys_max_age_s),
        _filter("buffer", "Buffer", max_request_bytes=READ_BEYOND * targets.max_body_bytes),
        _filter("router", "Router"),
    ]


def _filter(name: str, message: str, **config: Any) -> Json:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_TYPES}.filters.http.{name}.v3.{message}", **config}}


def _remove_own_headers() -> Json:
    """Only services may say who they are by `x-treadle-*`; what a client sends under such a name is dropped.

    Names that begin with `x-treadle-on` are for clients: by one an administrator says for whom. Envoy's expressions know no "but".
    """
    return {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": r"x-treadle-(?:[^o].*|o[^n].*|o?)"}}}}


def _virtual_host(methods: Mapping[str, Method]) -> Json:
    return {
        "name": "edge",
        "domains": ["*"],
        "routes": all_routes(methods),
        "response_headers_to_add": [
            {"header": {"key": "x-content-type-options", "value": "nosniff"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            # The CORS headers of an answer are for the origin that asked.
            {"header": {"key": "vary", "value": "origin"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"},
        ],
        "typed_per_filter_config": {
            "envoy.filters.http.cors": {
                "@type": f"{_TYPES}.filters.http.cors.v3.CorsPolicy",
                "allow_origin_string_match": [{"safe_regex": {"regex": _LOCAL_ORIGIN}}],
                "allow_methods": "GET, POST, PUT, PATCH, DELETE",
                "allow_headers": _ALLOWED_HEADERS,
                "expose_headers": _EXPOSED_HEADERS,
                "max_age": "600",
            }
        },
    }


def _error_log() -> Json:
    """One line per answer of 500 and above; the services log every call."""
    line = {
        "event": "edge_error",
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ:PATH)%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "upstream": "%UPSTREAM_CLUSTER%",
        "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "duration_ms": "%DURATION%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "edge.log_status"}}}},
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": line},
        },
    }
