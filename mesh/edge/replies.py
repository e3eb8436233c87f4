"""Envoy's own errors in the shape of ours, made from the same error classes as the services' doors use: JSON over REST, a status with
details over gRPC.
"""

import base64
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from mesh.chain.request_id import HEADER as REQUEST_ID
from mesh.edge.limits import RATE_LIMITED
from mesh.edge.routes import VERBS
from mesh.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    PermissionDeniedError,
    TreadleError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from mesh.http.errors import BodyTooLargeError, MediaTypeError, RouteUnknownError, VerbNotAllowedError
from mesh.http.responses import error_headers
from mesh.limits import MAX_MESSAGE_BYTES
from mesh.status import DETAILS, to_json, to_status

Json = dict[str, Any]

_GRPC_STATUS = "grpc-status"
_FILTERS = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"


@dataclass(frozen=True, slots=True)
class Reply:
    """What to say when `condition` (CEL over the response) holds. `status` replaces Envoy's when set; `grpc_error` is what gRPC callers get
    instead. `is_said` when body and headers of our making are there already: then only what they lack is added.
    """

    condition: str
    error: TreadleError
    status: int = 0
    grpc_error: TreadleError | None = None
    is_said: bool = False


def _details(part: str) -> str:
    return f"response.code_details.contains('{part}')"


def replies(max_body_bytes: int = MAX_MESSAGE_BYTES) -> tuple[Reply, ...]:
    """All of them; the first whose condition holds counts. `max_body_bytes` is the size of a REST body that the edge still takes."""
    return (
        Reply(_details("Jwt_is_missing"), UnauthenticatedError("An access token is needed.", reason="TOKEN_MISSING"), 401),
        Reply(_details("Jwt_is_expired"), UnauthenticatedError("The access token has expired.", reason="TOKEN_EXPIRED"), 401),
        # Not all that is said of Jwks: a token can name a key that is not there, too.
        Reply(_details("Jwks_remote_fetch_is_failed"), UnavailableError("The keys of tokens are away.", reason="KEYS_UNAVAILABLE"), 503),
        Reply(_details("jwt_authn"), UnauthenticatedError("The access token is not valid.", reason="TOKEN_INVALID"), 401),
        Reply("response.code == 400", InvalidArgumentError("The request is not well-formed HTTP.", reason="BAD_REQUEST")),
        Reply("response.code == 401", UnauthenticatedError("An access token is needed.")),
        Reply("response.code == 403", PermissionDeniedError("This is not allowed.", reason="FORBIDDEN")),
        Reply(
            "response.code == 404",
            RouteUnknownError("There is nothing at this path."),
            grpc_error=UnimplementedError("There is no such method.", reason="METHOD_UNKNOWN"),
        ),
        # Of verbs that no path takes; what a path takes says its service.
        Reply("response.code == 405", VerbNotAllowedError("such a verb", VERBS)),
        Reply("response.code == 408", DeadlineExceededError("The request did not arrive in time.", reason="REQUEST_TIMEOUT")),
        Reply("response.code == 413", BodyTooLargeError(max_body_bytes)),
        Reply("response.code == 415", MediaTypeError("The body is of a kind that nobody here reads.")),
        Reply("response.code == 426", FailedPreconditionError("This protocol is not served here.", reason="UPGRADE_REQUIRED")),
        Reply("response.code == 429 && " + _details("local_rate_limited"), RATE_LIMITED),
        Reply("response.code == 429", RATE_LIMITED, is_said=True),
        Reply("response.code == 431", InvalidArgumentError("The headers are too large.", reason="HEADERS_TOO_LARGE")),
        Reply("response.code == 504", DeadlineExceededError("The service did not answer in time.", reason="UPSTREAM_TIMEOUT")),
        Reply("response.code == 502 || response.code == 503", UnavailableError("The service is away.", reason="UPSTREAM_UNAVAILABLE"), 503),
        Reply("response.code >= 500", InternalError("The edge could not serve the request.", reason="EDGE_ERROR")),
    )


def local_reply_config(max_body_bytes: int) -> Json:
    """The `local_reply_config` of the connection manager."""
    return {"mappers": [mapper for reply in replies(max_body_bytes) for mapper in (_for_grpc(reply), _for_rest(reply))]}


def _for_rest(reply: Reply) -> Json:
    if reply.is_said:
        shown: Json = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}
    else:
        shown = {"json_format": orjson.loads(to_json(reply.error)), "content_type": "application/json"}
    return _mapper(reply, _NOT_GRPC, shown, _headers(reply.error))


def _for_grpc(reply: Reply) -> Json:
    """Envoy keeps a status that is there already; of a body it would make another one for gRPC-Web, by the HTTP status alone."""
    error = reply.grpc_error or reply.error
    details = base64.b64encode(to_status(error).SerializeToString()).decode().rstrip("=")
    headers = {**_headers(error), _GRPC_STATUS: str(int(error.code)), "grpc-message": _escaped(error.message), DETAILS: details}
    return _mapper(reply, _IS_GRPC, {"text_format_source": {"inline_string": ""}}, headers)


def _escaped(text: str) -> str:
    """As gRPC wants it in a header, and then as Envoy wants it in a format."""
    return quote(text, safe=string.punctuation.replace("%", "") + " ").replace("%", "%%")


def _headers(error: TreadleError) -> dict[str, str]:
    return {**error_headers(error), REQUEST_ID: f"%REQ({REQUEST_ID})%"}


def _mapper(reply: Reply, header: Json, body_format: Json, headers: Mapping[str, str]) -> Json:
    condition = {"extension_filter": {"name": "cel", "typed_config": {"@type": _FILTERS, "expression": reply.condition}}}
    mapper: Json = {
        "filter": {"and_filter": {"filters": [condition, {"header_filter": {"header": header}}]}},
        "body_format_override": body_format,
        "headers_to_add": list(_added(headers, keep=reply.is_said)),
    }
    if reply.status:
        mapper["status_code"] = reply.status
    return mapper


def _added(headers: Mapping[str, str], *, keep: bool) -> Iterator[Json]:
    """With `keep` those that are there already stay, but for the status that Envoy makes up of the HTTP one."""
    for name, value in headers.items():
        action = "ADD_IF_ABSENT" if keep and name != _GRPC_STATUS else "OVERWRITE_IF_EXISTS_OR_ADD"
        yield {"header": {"key": name, "value": value}, "append_action": action}


_IS_GRPC: Json = {
    "name": "content-type",
    "string_match": {"prefix": "application/grpc"},
    "treat_missing_header_as_empty": True,
}
_NOT_GRPC: Json = {**_IS_GRPC, "invert_match": True}
