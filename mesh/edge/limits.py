"""Rate limits at the edge: a wall of its own for each address, then what the rate limit service grants, by the class of the route.

The service is asked over `envoy.service.ratelimit.v3`; see `limits.lua` for how few requests have to wait for it, and for what counts while
it is away.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mesh.contract import Method
from mesh.errors import ResourceExhaustedError
from mesh.rates import BUILT_IN, WALL
from mesh.status import to_json

Json = dict[str, Any]

# Where the edge finds the service.
DOMAIN = "limit"
# Namespace of the classes in a route's metadata, by verb, and of what is asked about a request.
NAMESPACE = "treadle.limits"
# Header by which the edge tells itself whose verified token it was; like all of its kind, clients cannot send it.
USER_HEADER = "x-treadle-user"
# The service answers in a millisecond or it is taken for away.
TIMEOUT_S = 0.1
# Addresses whose bucket is remembered; the one that was idle for longest goes first.
_MAX_ADDRESSES = 20_000
_FILL_MS = 50
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
# What the edge says when it refuses by itself.
RATE_LIMITED = ResourceExhaustedError("Too many requests. Try again shortly.", reason="RATE_LIMITED")
_LUA = Path(__file__).with_name("limits.lua")


def wall_filter() -> Json:
    """A token bucket for each address, before anything else is asked about a request. Envoy's own: it holds whoever else is away."""
    address = {"actions": [{"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}]}
    on = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    tokens = {
        "max_tokens": WALL.burst,
        "tokens_per_fill": max(1, int(WALL.per_second * _FILL_MS / 1000)),
        "fill_interval": f"{_FILL_MS / 1000:g}s",
    }
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": f"{_FILTERS}.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "wall",
            # No bucket for all together: whoever cannot be told apart is not let in less often.
            "token_bucket": {"max_tokens": 4_000_000_000, "fill_interval": "1s"},
            "filter_enabled": on,
            "filter_enforced": on,
            "rate_limits": [address],
            "descriptors": [{"entries": [{"key": "masked_remote_address"}], "token_bucket": tokens}],
            "max_dynamic_descriptors": _MAX_ADDRESSES,
        },
    }


def count_filters(cluster: str) -> list[Json]:
    """The filters that count by class: for each address, and for each user or API key. `cluster` is where the service is."""
    return [
        {
            "name": NAMESPACE,
            "typed_config": {"@type": f"{_FILTERS}.lua.v3.Lua", "default_source_code": {"inline_string": _config() + _LUA.read_text()}},
        },
        {
            "name": "envoy.filters.http.ratelimit",
            "typed_config": {
                "@type": f"{_FILTERS}.ratelimit.v3.RateLimit",
                "domain": "treadle",
                "timeout": f"{TIMEOUT_S:g}s",
                # Without the service everything goes on.
                "failure_mode_deny": False,
                "rate_limited_as_resource_exhausted": True,
                "disable_x_envoy_ratelimited_header": True,
                "rate_limit_service": {"grpc_service": {"envoy_grpc": {"cluster_name": cluster}}, "transport_api_version": "V3"},
            },
        },
    ]


def descriptors() -> list[Json]:
    """What the service is asked about a request: one that says no class in its metadata makes no descriptor, and asks nothing."""
    address = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
    said = {name: _from_metadata(name) for name in ("class", "user", "key", "lease")}
    return [{"actions": [said["class"], subject, said["lease"]]} for subject in (address, said["user"], said["key"])]


def classes(methods: Iterable[Method]) -> Json:
    """The metadata of a REST route: the class of each verb on its path."""
    found = {method.http.verb: method.rate_class for method in methods if method.http}
    if "GET" in found:
        found["HEAD"] = found["GET"]
    return route_metadata(found)


def route_metadata(class_by_verb: Json) -> Json:
    """The metadata of a route."""
    return {"metadata": {"filter_metadata": {NAMESPACE: class_by_verb}}}


def _from_metadata(name: str) -> Json:
    return {"metadata": {"descriptor_key": name, "metadata_key": {"key": NAMESPACE, "path": [{"key": name}]}, "source": "DYNAMIC"}}


def _config() -> str:
    rates = ", ".join(f"{name} = {{per_second = {rate.per_second:g}, burst = {rate.burst}}}" for name, rate in BUILT_IN.items())
    refusal = to_json(RATE_LIMITED).decode()
    return f"local CONFIG = {{built_in = {{{rates}}}, refusal = [==[{refusal}]==]}}\n"
