"""The whole Envoy configuration of the edge. Pure: contracts and targets in, a JSON document out."""

from collections.abc import Mapping
from typing import Any

from mesh.contract import Method
from mesh.edge.clusters import all_clusters
from mesh.edge.listeners import listeners
from mesh.edge.targets import EdgeTargets

Json = dict[str, Any]

_MAX_CONNECTIONS = 50_000
# Near this the edge takes no more requests, rather than to be killed with all that it holds.
_MAX_HEAP_BYTES = 2 * 1024**3
_MONITORS = "type.googleapis.com/envoy.extensions.resource_monitors"


def edge_config(methods: Mapping[str, Method], targets: EdgeTargets) -> Json:
    """The bootstrap document, ready to be written as JSON."""
    return {
        "node": {"id": "edge", "cluster": "treadle"},
        "admin": {"address": {"pipe": {"path": str(targets.admin_socket), "mode": 0o600}}},
        "overload_manager": _overload_manager(),
        "static_resources": {"listeners": listeners(methods, targets), "clusters": all_clusters(targets)},
    }


def _overload_manager() -> Json:
    heap = "envoy.resource_monitors.fixed_heap"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": _MAX_CONNECTIONS,
                },
            },
            {"name": heap, "typed_config": {"@type": f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": _MAX_HEAP_BYTES}},
        ],
        "actions": [
            {"name": "envoy.overload_actions.shrink_heap", "triggers": [{"name": heap, "threshold": {"value": 0.9}}]},
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": [{"name": heap, "threshold": {"value": 0.95}}]},
        ],
    }
