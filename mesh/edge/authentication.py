"""The token check at the edge, from the contracts: each non-public path needs a token that the auth service's keys verify.

The services verify again; the edge keeps strangers from costing them anything.
"""

from collections.abc import Mapping
from typing import Any

from mesh.contract import Method
from mesh.edge.limits import USER_HEADER
from mesh.edge.routes import GRAPHQL_PATH, edge_methods, http_cluster, rest_matchers
from mesh.identity.api_key import PREFIX as API_KEY_PREFIX

Json = dict[str, Any]

JWKS_PATH = "/.well-known/jwks.json"
_AUTH_DOMAIN = "auth"
_AUDIENCE = "treadle"
_TYPE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
# The scheme's case is free (RFC 9110); Envoy compares it as it is written here.
_SCHEMES = ("Bearer", "bearer", "BEARER")
_IS_API_KEY: Json = {"name": "authorization", "string_match": {"prefix": f"Bearer {API_KEY_PREFIX}", "ignore_case": True}}
_IS_POST: Json = {"name": ":method", "string_match": {"exact": "POST"}}
_NEEDED: Json = {"provider_name": "treadle"}


def jwt_filter(methods: Mapping[str, Method], issuer: str, keys_max_age_s: int) -> Json:
    """The `jwt_authn` filter."""
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {"@type": _TYPE, "providers": {"treadle": _provider(issuer, keys_max_age_s)}, "rules": _rules(methods)},
    }


def _provider(issuer: str, keys_max_age_s: int) -> Json:
    return {
        "issuer": issuer,
        "audiences": [_AUDIENCE],
        "forward": True,
        "claim_to_headers": [{"header_name": USER_HEADER, "claim_name": "sub"}],
        "from_headers": [{"name": "authorization", "value_prefix": f"{scheme} "} for scheme in _SCHEMES],
        "remote_jwks": {
            "http_uri": {"uri": f"http://{_AUTH_DOMAIN}{JWKS_PATH}", "cluster": http_cluster(_AUTH_DOMAIN), "timeout": "2s"},
            "cache_duration": f"{keys_max_age_s}s",
            "retry_policy": {"num_retries": 5, "retry_back_off": {"base_interval": "0.1s", "max_interval": "2s"}},
        },
        # Verifying a signature costs more than all else at the edge.
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }


def _rules(methods: Mapping[str, Method]) -> list[Json]:
    callable_methods = edge_methods(methods.values())
    return [
        # Whose an API key is only the services find out.
        {"match": {"prefix": "/", "headers": [_IS_API_KEY]}},
        *(_rule({"path": method.full_name}, {} if method.is_public else _NEEDED) for method in callable_methods),
        *(_rule(matcher, {} if any(m.is_public for m in group) else _NEEDED) for matcher, group in rest_matchers(callable_methods)),
        # Not /v1/ws: there the gateway itself says by a close code what is wrong with a token.
        _rule({"path": "/v1/ws-tickets"}, _NEEDED),
        # Nor the socket of GraphQL, which is opened by GET and says who it is in its first message.
        _rule({"path": GRAPHQL_PATH, "headers": [_IS_POST]}, _NEEDED),
    ]


def _rule(matcher: Json, requirement: Json) -> Json:
    return {"match": matcher, **({"requires": requirement} if requirement else {})}
