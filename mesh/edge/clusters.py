"""The clusters behind the edge: one per domain and door, and one for the gateway."""

from typing import Any

from mesh.edge.routes import GATEWAY_CLUSTER, grpc_cluster, http_cluster
from mesh.edge.targets import EdgeTargets, split

Json = dict[str, Any]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MAX_IN_FLIGHT = 20_000
# Streams have no idle limit: the pings find out when a service is gone without a word.
_HTTP2: Json = {"max_concurrent_streams": 2000, "connection_keepalive": {"interval": "30s", "timeout": "10s"}}
_TCP_KEEPALIVE: Json = {"keepalive_time": 60, "keepalive_interval": 15, "keepalive_probes": 4}


def all_clusters(targets: EdgeTargets) -> list[Json]:
    """Every cluster that a route may name."""
    clusters = [_cluster(GATEWAY_CLUSTER, targets.gateway.http, is_http2=False)]
    for domain, doors in sorted(targets.services.items()):
        clusters.append(_cluster(grpc_cluster(domain), doors.grpc, is_http2=True))
        clusters.append(_cluster(http_cluster(domain), doors.http, is_http2=False))
    return clusters


def _cluster(name: str, address: str, *, is_http2: bool) -> Json:
    host, port = split(address)
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    protocol: Json = {"http2_protocol_options": _HTTP2} if is_http2 else {"http_protocol_options": {}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "upstream_connection_options": {"tcp_keepalive": _TCP_KEEPALIVE},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [_thresholds()]},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": protocol,
                # A kept connection that the server closes meanwhile costs a failed call; ours keep theirs longer than this.
                "common_http_protocol_options": {"idle_timeout": "4s"} if not is_http2 else {"idle_timeout": "3600s"},
            }
        },
    }


def _thresholds() -> Json:
    """Room for a burst. By default Envoy retries only three calls at a time, which fails hundreds when an instance dies."""
    return {
        "max_connections": _MAX_IN_FLIGHT,
        "max_pending_requests": _MAX_IN_FLIGHT,
        "max_requests": _MAX_IN_FLIGHT,
        "retry_budget": {"budget_percent": {"value": 25.0}, "min_retry_concurrency": 20},
    }
