"""Errors on the wire: `TreadleError` to and from `google.rpc.Status`, and to the JSON that REST shows."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from mesh import errors
from mesh.errors import Code, TreadleError, Violation
from mesh.http.encode import encoder_of

# The metadata that carries a status over gRPC.
DETAILS = "grpc-status-details-bin"
# What a caller waits before a repeat when the error does not say.
DEFAULT_RETRY_AFTER_S = 1.0

# Clients take 8 KiB of metadata unless told otherwise, and base64 makes three bytes four: beyond this a detail is sent in brief.
MAX_STATUS_BYTES = 4096

_RETRIABLE = (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
_TYPE_URL = "type.googleapis.com/"

_CLASSES: Mapping[int, type[TreadleError]] = {
    Code.INVALID_ARGUMENT: errors.InvalidArgumentError,
    Code.OUT_OF_RANGE: errors.InvalidArgumentError,
    Code.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    Code.NOT_FOUND: errors.NotFoundError,
    Code.ALREADY_EXISTS: errors.AlreadyExistsError,
    Code.PERMISSION_DENIED: errors.PermissionDeniedError,
    Code.RESOURCE_EXHAUSTED: errors.ResourceExhaustedError,
    Code.FAILED_PRECONDITION: errors.FailedPreconditionError,
    Code.ABORTED: errors.AbortedError,
    Code.UNIMPLEMENTED: errors.UnimplementedError,
    Code.UNAVAILABLE: errors.UnavailableError,
    # A peer that gives up on a call has no verdict on it: to the caller it was away.
    Code.CANCELLED: errors.UnavailableError,
    Code.UNAUTHENTICATED: errors.UnauthenticatedError,
}


def to_status(error: TreadleError) -> Status:
    """The error as `google.rpc.Status`: ErrorInfo always, then what its kind calls for, then its own detail, in brief when it is large."""
    status = Status(code=int(error.code), message=error.message)
    for detail in _details(error):
        status.details.add().Pack(detail)
    if error.detail is not None:
        fits = status.ByteSize() + error.detail.whole.ByteSize() <= MAX_STATUS_BYTES
        status.details.add().Pack(error.detail.whole if fits else error.detail.brief)
    return status


def to_json(error: TreadleError) -> bytes:
    """The same as JSON: `{"code","message","details":[{"@type",…}]}`, field names in snake_case, its own detail whole."""
    shown = [{"@type": _type_url(detail), **_plain(detail)} for detail in _details(error)]
    if error.detail is not None:
        whole = error.detail.whole
        shown.append({"@type": _type_url(whole), **encoder_of(cast(Descriptor, whole.DESCRIPTOR)).show(whole)})
    return orjson.dumps({"code": int(error.code), "message": error.message, "details": shown})


def from_status(status: Status) -> TreadleError:
    """The error that a peer's status stands for. Codes without a class of their own become the nearest one."""
    reason: str | None = None
    metadata: dict[str, str] = {}
    violations: list[Violation] = []
    retry_after_s: float | None = None
    info, bad_request, retry = details.ErrorInfo(), details.BadRequest(), details.RetryInfo()
    for packed in status.details:
        if packed.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif packed.Unpack(bad_request):
            violations.extend(Violation(item.field, item.description) for item in bad_request.field_violations)
        elif packed.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    kind = _CLASSES.get(status.code, errors.InternalError)
    return kind(status.message, reason=reason, metadata=metadata, violations=violations, retry_after_s=retry_after_s)


def retry_after_s(error: TreadleError) -> float | None:
    """Seconds a caller should wait before a repeat; None when a repeat does not help by itself."""
    if error.retry_after_s is None and error.code in _RETRIABLE:
        return DEFAULT_RETRY_AFTER_S
    return error.retry_after_s


def _details(error: TreadleError) -> Iterator[Message]:
    yield details.ErrorInfo(reason=error.reason, domain=errors.DOMAIN, metadata=error.metadata)
    if error.violations:
        fields = [details.BadRequest.FieldViolation(field=item.field, description=item.description) for item in error.violations]
        yield details.BadRequest(field_violations=fields)
    if error.code is Code.FAILED_PRECONDITION:
        state = details.PreconditionFailure.Violation(type=error.reason, description=error.message)
        yield details.PreconditionFailure(violations=[state])
    if error.code is Code.RESOURCE_EXHAUSTED:
        limit = details.QuotaFailure.Violation(subject=error.metadata.get("limit", error.reason), description=error.message)
        yield details.QuotaFailure(violations=[limit])
    delay_s = retry_after_s(error)
    if delay_s is not None:
        yield details.RetryInfo(retry_delay=_duration(delay_s))


def _type_url(message: Message) -> str:
    return f"{_TYPE_URL}{cast(Descriptor, message.DESCRIPTOR).full_name}"


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))


def _plain(message: Message) -> dict[str, Any]:
    """A detail of Google's as plain JSON values. These hold strings, maps of them, lists of messages and durations only."""
    plain: dict[str, Any] = {}
    for field, value in message.ListFields():
        if isinstance(value, Duration):
            plain[field.name] = value.ToJsonString()
        elif isinstance(value, str):
            plain[field.name] = value
        elif hasattr(value, "items"):
            # Protobuf keeps no order of theirs.
            plain[field.name] = dict(sorted(value.items()))
        else:
            plain[field.name] = [_plain(item) for item in value]
    return plain
