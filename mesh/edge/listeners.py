"""The listeners of the edge, and how each speaks HTTP: defensive where strangers are, patient with streams."""

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.contract import Method
from mesh.edge.browsers import CORS, cors_policy, response_headers
from mesh.edge.encryption import transport_socket
from mesh.edge.filters import http_filters
from mesh.edge.limits import descriptors
from mesh.edge.policy import EdgePolicy, Patience
from mesh.edge.replies import local_reply_config
from mesh.edge.routes import all_routes
from mesh.edge.targets import EdgeTargets, split

Json = dict[str, Any]

_TYPES = "type.googleapis.com/envoy.extensions"
_MAX_STREAMS = 1000
# A client that does not read makes us keep so much per stream and connection; Envoy's own default is 256 MiB.
_STREAM_WINDOW_BYTES = 256 * 1024
_CONNECTION_WINDOW_BYTES = 1024 * 1024


def listeners(methods: Mapping[str, Method], targets: EdgeTargets) -> list[Json]:
    """The plain listener, and one with TLS when the policy has it."""
    tls = targets.policy.tls
    plain = _listener("edge", targets.listen, _manager(methods, targets, is_tls=False))
    if tls is None:
        return [plain]
    secure = _listener("edge-tls", tls.listen, _manager(methods, targets, is_tls=True))
    secure["filter_chains"][0] |= {"transport_socket": transport_socket(tls), "transport_socket_connect_timeout": "10s"}
    return [plain, secure]


def _listener(name: str, address: str, manager: Json) -> Json:
    host, port = split(address)
    return {
        "name": name,
        "address": {"socket_address": {"address": host, "port_value": port}},
        # With port sharing another server could silently take a part of the calls.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        # HTTP/1 has no pings: this finds out who left without a word in the middle of a stream.
        "tcp_keepalive": {"keepalive_time": 60, "keepalive_interval": 15, "keepalive_probes": 4},
        "filter_chains": [{"filters": [manager]}],
    }


def _manager(methods: Mapping[str, Method], targets: EdgeTargets, *, is_tls: bool) -> Json:
    policy = targets.policy
    patience = policy.patience
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "edge",
            "codec_type": "AUTO",
            "server_name": "treadle",
            **_trust(policy),
            # The id that a client gives its request is the one in the logs, and comes back.
            "preserve_external_request_id": True,
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "common_http_protocol_options": {
                "idle_timeout": seconds(patience.idle_connection_s),
                "headers_with_underscores_action": "REJECT_REQUEST",
            },
            "http2_protocol_options": _http2(patience),
            "request_headers_timeout": seconds(patience.headers_s),
            # The edge holds a body until it is whole; over once an answer begins, so streams may last.
            "request_timeout": seconds(patience.request_s),
            "stream_idle_timeout": seconds(patience.idle_request_s),
            "upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}],
            "local_reply_config": local_reply_config(targets.max_body_bytes),
            "http_filters": http_filters(methods, targets),
            "route_config": {"name": "edge", "virtual_hosts": [_virtual_host(all_routes(methods, policy), policy, is_tls=is_tls)]},
            "access_log": [_error_log()],
        },
    }


def _trust(policy: EdgePolicy) -> Json:
    """Where a request comes from: what we see ourselves, and so many proxies before us."""
    return {"use_remote_address": True, "xff_num_trusted_hops": policy.trusted_hops}


def _http2(patience: Patience) -> Json:
    return {
        "max_concurrent_streams": _MAX_STREAMS,
        "initial_stream_window_size": _STREAM_WINDOW_BYTES,
        "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
        "connection_keepalive": {
            "interval": seconds(patience.ping_every_s),
            "timeout": seconds(patience.ping_timeout_s),
            "interval_jitter": {"value": 15.0},
        },
    }


def _virtual_host(routes: Sequence[Json], policy: EdgePolicy, *, is_tls: bool) -> Json:
    return {
        "name": "edge",
        "domains": ["*"],
        "routes": list(routes),
        "response_headers_to_add": response_headers(is_tls=is_tls),
        "rate_limits": descriptors(),
        "typed_per_filter_config": {CORS: cors_policy(policy)},
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


def seconds(value: float) -> str:
    """A duration as Envoy takes it."""
    return f"{value:g}s"
