"""Errors that only HTTP can have, and those of its reader. The HTTP doors, the gateway and the edge share them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from mesh.errors import (
    HTTP_STATUS,
    Code,
    EtagMismatchError,
    InvalidArgumentError,
    NotFoundError,
    TreadleError,
    UnimplementedError,
    Violation,
)


class RouteUnknownError(NotFoundError):
    """No method has such a path."""

    default_reason = "ROUTE_UNKNOWN"


class VerbNotAllowedError(UnimplementedError):
    """The path exists, for other verbs."""

    default_reason = "VERB_NOT_ALLOWED"

    def __init__(self, verb: str, allowed: Sequence[str]) -> None:
        """`allowed` are the verbs that the path takes."""
        super().__init__(f"This path takes {', '.join(allowed)}, not {verb}.", metadata={"allow": ", ".join(allowed)})


class BodyTooLargeError(InvalidArgumentError):
    """The body is larger than a message may be; the gRPC door says the same of its messages."""

    default_reason = "BODY_TOO_LARGE"

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` is the limit that was hit."""
        super().__init__(f"The request is larger than {max_bytes} bytes.", metadata={"max_bytes": str(max_bytes)})


class ClientGoneError(TreadleError):
    """The client left before its request was read; nobody waits for an answer."""

    code = Code.CANCELLED
    default_reason = "CLIENT_GONE"


class MediaTypeError(InvalidArgumentError):
    """The body is of a kind that nobody here reads."""

    default_reason = "MEDIA_TYPE_UNSUPPORTED"


class JsonInvalidError(InvalidArgumentError):
    """The body is not JSON."""

    default_reason = "JSON_INVALID"


# A request that does not fit its message; the violations name the fields by the paths that the client used.
REQUEST_INVALID = "REQUEST_INVALID"

_OWN_STATUS: Mapping[type[TreadleError], int] = {
    EtagMismatchError: HTTPStatus.PRECONDITION_FAILED,
    VerbNotAllowedError: HTTPStatus.METHOD_NOT_ALLOWED,
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    MediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}


def http_status(error: TreadleError) -> int:
    """The HTTP status that goes with an error."""
    return next((int(status) for kind, status in _OWN_STATUS.items() if isinstance(error, kind)), int(HTTP_STATUS[error.code]))


def request_invalid(violations: Sequence[Violation]) -> InvalidArgumentError:
    """The error for a request with at least one violation; its message is the first of them."""
    first = violations[0]
    return InvalidArgumentError(f"{first.field}: {first.description}", reason=REQUEST_INVALID, violations=violations)
