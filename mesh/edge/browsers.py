"""What protects people in browsers: which pages may call, where cookies count, and the headers that every answer carries."""

import re
from typing import Any

from mesh.edge.policy import EdgePolicy

Json = dict[str, Any]

CORS = "envoy.filters.http.cors"
CSRF = "envoy.filters.http.csrf"
_CORS_POLICY = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"
_CSRF_POLICY = "type.googleapis.com/envoy.extensions.filters.http.csrf.v3.CsrfPolicy"
_ALLOWED_HEADERS = (
    "authorization, content-type, idempotency-key, if-match, if-none-match, x-grpc-web, x-user-agent, grpc-timeout, x-request-id, "
    "x-use-cookie"
)
_EXPOSED_HEADERS = (
    "allow, etag, grpc-message, grpc-status, grpc-status-details-bin, ratelimit-limit, ratelimit-remaining, ratelimit-reset, "
    "retry-after, www-authenticate, x-request-id"
)
_LOCAL_HOST = r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_LABELS = r"([a-z0-9-]+\.)+"
# An answer is data: nothing in it may run, be framed, or tell others where it was read. Pages of our own say themselves what they need.
_ALWAYS = {"x-content-type-options": "nosniff"}
_UNLESS_SAID = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_TLS_ONLY = {"strict-transport-security": "max-age=31536000; includeSubDomains"}


def cors_policy(policy: EdgePolicy) -> Json:
    """The CORS policy. Only pages of origins that somebody listed may send cookies along."""
    patterns = [_origin_pattern(origin) for origin in policy.origins] or [f"https?://{_LOCAL_HOST}"]
    return {
        "@type": _CORS_POLICY,
        "allow_origin_string_match": [{"safe_regex": {"regex": pattern}} for pattern in patterns],
        "allow_methods": "GET, POST, PUT, PATCH, DELETE",
        "allow_headers": _ALLOWED_HEADERS,
        "expose_headers": _EXPOSED_HEADERS,
        "max_age": "600",
        **({"allow_credentials": True} if policy.origins else {}),
    }


def csrf_filter() -> Json:
    """The filter, off but where a route turns it on."""
    return {"name": CSRF, "typed_config": _csrf_policy(0)}


def csrf_on(policy: EdgePolicy) -> Json:
    """For a route that takes a cookie: the page must be of the host that it calls, or of a listed origin."""
    hosts = [{"safe_regex": {"regex": _host_pattern(origin.partition("://")[2])}} for origin in policy.origins]
    return {CSRF: {**_csrf_policy(100), "additional_origins": hosts}}


def response_headers(*, is_tls: bool) -> list[Json]:
    """The headers of every answer that has a route."""
    always = {**_ALWAYS, **(_TLS_ONLY if is_tls else {})}
    return [
        *(_header(name, value, "OVERWRITE_IF_EXISTS_OR_ADD") for name, value in always.items()),
        *(_header(name, value, "ADD_IF_ABSENT") for name, value in _UNLESS_SAID.items()),
        # The CORS headers of an answer are for the origin that asked.
        _header("vary", "origin", "APPEND_IF_EXISTS_OR_ADD"),
    ]


def _header(name: str, value: str, action: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _csrf_policy(percent: int) -> Json:
    share = {"default_value": {"numerator": percent, "denominator": "HUNDRED"}}
    return {"@type": _CSRF_POLICY, "filter_enabled": share}


def _origin_pattern(origin: str) -> str:
    scheme, _, host = origin.partition("://")
    return f"{scheme}://{_host_pattern(host)}"


def _host_pattern(host: str) -> str:
    return _LABELS + re.escape(host[2:]) if host.startswith("*.") else re.escape(host)
