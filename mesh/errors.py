"""The error model: domain code raises these, one place turns them into `google.rpc.Status` (see `mesh.status`).

Every error has a gRPC code, a stable upper-case `reason` for programs, and a message for people that never holds a secret.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN = "treadle.dev"


class Code(IntEnum):
    """gRPC status codes, with the numbers of `google.rpc.Code`."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS: Mapping[Code, int] = {
    Code.OK: HTTPStatus.OK,
    Code.CANCELLED: 499,
    Code.UNKNOWN: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    Code.ABORTED: HTTPStatus.CONFLICT,
    Code.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    Code.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DATA_LOSS: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with the input. `field` is a path such as `graph.nodes[3].block_id`."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What only errors of one kind say: a message of a contract. `brief` stands for it where little fits, as in the trailers of gRPC; both
    are of the same type.
    """

    whole: "Message"
    brief: "Message"


class TreadleError(Exception):
    """Root of all errors that a caller may see."""

    code: ClassVar[Code] = Code.INTERNAL
    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
        detail: Detail | None = None,
    ) -> None:
        """`metadata` holds ids for programs; `retry_after_s` becomes RetryInfo. `detail` comes after the details that all errors have; it
        goes to the caller, and no further when that one passes the error on.
        """
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.detail = detail


class InvalidArgumentError(TreadleError):
    """The request itself is wrong, whatever the state of the system."""

    code = Code.INVALID_ARGUMENT
    default_reason = "INVALID_ARGUMENT"


class NotFoundError(TreadleError):
    """No such resource, or not one that the caller may know of."""

    code = Code.NOT_FOUND
    default_reason = "NOT_FOUND"


class AlreadyExistsError(TreadleError):
    """The resource is there already."""

    code = Code.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class PermissionDeniedError(TreadleError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED
    default_reason = "PERMISSION_DENIED"


class UnauthenticatedError(TreadleError):
    """The caller did not prove who it is."""

    code = Code.UNAUTHENTICATED
    default_reason = "UNAUTHENTICATED"


class FailedPreconditionError(TreadleError):
    """The system is not in the state that the call needs; a repeat does not help until that changes."""

    code = Code.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class RequestIdReusedError(FailedPreconditionError):
    """The same `request_id` came before, with another request."""

    default_reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__("This request_id was used before with another request.", metadata={"request_id": request_id})


class AbortedError(TreadleError):
    """The call lost against a concurrent one; a repeat from the start may win."""

    code = Code.ABORTED
    default_reason = "ABORTED"


class EtagMismatchError(AbortedError):
    """The resource is no longer the one that the caller saw (its `If-Match`)."""

    default_reason = "ETAG_MISMATCH"


class ResourceExhaustedError(TreadleError):
    """A limit was hit. Carries RetryInfo."""

    code = Code.RESOURCE_EXHAUSTED
    default_reason = "RESOURCE_EXHAUSTED"


class DeadlineExceededError(TreadleError):
    """The deadline passed before the work was done."""

    code = Code.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"


class UnavailableError(TreadleError):
    """A dependency is away for now. Carries RetryInfo."""

    code = Code.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class UnimplementedError(TreadleError):
    """There is no such method."""

    code = Code.UNIMPLEMENTED
    default_reason = "UNIMPLEMENTED"


class InternalError(TreadleError):
    """A fault of ours. The truth is in the log under the error id, never in the message."""
