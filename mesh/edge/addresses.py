"""Who is let in by address or country. The address is the peer's, or what the trusted proxies before us say it is."""

from collections.abc import Iterable
from typing import Any

from mesh.edge.policy import EdgePolicy, address_range

Json = dict[str, Any]

# Set by the edge itself; what a client sends under the name is dropped.
COUNTRY_HEADER = "x-treadle-country"
_RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_GEOIP = "type.googleapis.com/envoy.extensions.filters.http.geoip.v3.Geoip"
_MAXMIND = "type.googleapis.com/envoy.extensions.geoip_providers.maxmind.v3.MaxMindConfig"


def address_filters(policy: EdgePolicy) -> list[Json]:
    """The filters that the policy asks for, none by default. Who is refused gets 403."""
    denied = [_from(network) for network in policy.denied]
    denied += [{"header": {"name": COUNTRY_HEADER, "string_match": {"exact": country}}} for country in policy.denied_countries]
    return [
        *([_geoip(str(policy.geoip_database))] if policy.geoip_database else []),
        *([_rbac("denied_addresses", "DENY", denied)] if denied else []),
        *([_rbac("allowed_addresses", "ALLOW", [_from(network) for network in policy.allowed])] if policy.allowed else []),
    ]


def _from(network: str) -> Json:
    return {"remote_ip": address_range(network)}


def _rbac(name: str, action: str, principals: Iterable[Json]) -> Json:
    rule = {"permissions": [{"any": True}], "principals": list(principals)}
    return {"name": name, "typed_config": {"@type": _RBAC, "rules": {"action": action, "policies": {name: rule}}}}


def _geoip(database: str) -> Json:
    provider = {
        "@type": _MAXMIND,
        "country_db_path": database,
        "common_provider_config": {"geo_field_keys": {"country": COUNTRY_HEADER}},
    }
    return {
        "name": "envoy.filters.http.geoip",
        "typed_config": {"@type": _GEOIP, "provider": {"name": "envoy.geoip_providers.maxmind", "typed_config": provider}},
    }
