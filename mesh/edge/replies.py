"""Envoy's own errors in the shape of ours: `{"code", "message", "details"}` with gRPC code numbers.

gRPC callers get a status from Envoy itself, so these apply to everything else.
"""

from dataclasses import dataclass
from typing import Any

from mesh.errors import DOMAIN, Code

Json = dict[str, Any]

_FILTERS = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


@dataclass(frozen=True, slots=True)
class Reply:
    """What to say when `condition` (CEL over the response) holds. `status` replaces Envoy's when set."""

    condition: str
    code: Code
    reason: str
    message: str
    status: int = 0
    is_retryable: bool = False


REPLIES = (
    Reply("response.code_details.contains('Jwt_is_missing')", Code.UNAUTHENTICATED, "TOKEN_MISSING", "A bearer token is needed.", 401),
    Reply("response.code_details.contains('Jwt_is_expired')", Code.UNAUTHENTICATED, "TOKEN_EXPIRED", "The token has expired.", 401),
    Reply("response.code_details.contains('Jwks')", Code.UNAVAILABLE, "KEYS_UNAVAILABLE", "The keys of tokens are away.", 503, True),
    Reply("response.code_details.startsWith('jwt_authn')", Code.UNAUTHENTICATED, "TOKEN_INVALID", "The token is not valid.", 401),
    Reply("response.code == 400", Code.INVALID_ARGUMENT, "BAD_REQUEST", "The request is not well-formed HTTP."),
    Reply("response.code == 403", Code.PERMISSION_DENIED, "FORBIDDEN", "This is not allowed."),
    Reply("response.code == 404", Code.NOT_FOUND, "ROUTE_NOT_FOUND", "There is no such route."),
    Reply("response.code == 408", Code.DEADLINE_EXCEEDED, "REQUEST_TIMEOUT", "The request did not arrive in time.", 408),
    Reply("response.code == 413", Code.RESOURCE_EXHAUSTED, "BODY_TOO_LARGE", "The body is larger than 10 MiB."),
    Reply("response.code == 426", Code.FAILED_PRECONDITION, "UPGRADE_REQUIRED", "The protocol of the request is not served here."),
    Reply("response.code == 429", Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", "Too many requests.", is_retryable=True),
    Reply("response.code == 431", Code.RESOURCE_EXHAUSTED, "HEADERS_TOO_LARGE", "The headers are too large."),
    Reply("response.code == 504", Code.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT", "The service did not answer in time."),
    Reply("response.code == 502 || response.code == 503", Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "The service is away.", 503, True),
    Reply("response.code >= 500", Code.INTERNAL, "EDGE_ERROR", "The edge could not serve the request."),
)


def local_reply_config() -> Json:
    """The `local_reply_config` of the connection manager."""
    return {"mappers": [_mapper(reply) for reply in REPLIES]}


def _mapper(reply: Reply) -> Json:
    details: list[Json] = [{"@type": _ERROR_INFO, "reason": reply.reason, "domain": DOMAIN, "metadata": {}}]
    if reply.is_retryable:
        details.append({"@type": _RETRY_INFO, "retry_delay": "1s"})
    body = {"code": int(reply.code), "message": reply.message, "details": details}
    mapper: Json = {
        "filter": {
            "and_filter": {
                "filters": [
                    {"extension_filter": {"name": "cel", "typed_config": {"@type": _FILTERS, "expression": reply.condition}}},
                    {"header_filter": {"header": _NOT_GRPC}},
                ]
            }
        },
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }
    if reply.status:
        mapper["status_code"] = reply.status
    return mapper


_NOT_GRPC: Json = {
    "name": "content-type",
    "string_match": {"prefix": "application/grpc"},
    "invert_match": True,
    "treat_missing_header_as_empty": True,
}
