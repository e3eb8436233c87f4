"""treadle.audit.v1.AuditService: from messages to the log and back."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from treadle.audit.v1 import audit_service_pb2 as pb

from mesh.call import Call
from mesh.errors import InvalidArgumentError, Violation
from mesh.paging import read_token, write_token
from services.audit.ledger import Entry, Mark, Verdict, Verification
from services.audit.repository import Filter, Repository

_DEFAULT_PAGE_SIZE = 50
_HASH_CHARS = 64
# Of a record's text, what the message has under the same name.
_FIELDS = (
    "id",
    "actor_id",
    "user_id",
    "session_id",
    "workload",
    "service",
    "method",
    "resources",
    "code",
    "reason",
    "source_address",
    "request_id",
)


class AuditServicer:
    """The handlers of AuditService."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def list_audit_records(self, request: pb.ListAuditRecordsRequest, _: Call) -> pb.ListAuditRecordsResponse:
        """A page of records."""
        size = request.page_size or _DEFAULT_PAGE_SIZE
        key = read_token(request.page_token, (int,))
        wanted = Filter(
            request.actor_id,
            request.user_id,
            request.resource_id,
            request.method,
            request.code,
            _bound(request, "start_time"),
            _bound(request, "end_time"),
        )
        found = await self._repository.find(wanted, int(key[0]) if key else None, size + 1)
        token = write_token(found[size - 1].seq) if len(found) > size else ""
        return pb.ListAuditRecordsResponse(records=map(record_message, found[:size]), next_page_token=token)

    async def export_audit_records(self, request: pb.ExportAuditRecordsRequest, _: Call) -> AsyncIterator[pb.ExportAuditRecordsResponse]:
        """Records, oldest first, up to the newest at the start."""
        start, end = _bound(request, "start_time"), _bound(request, "end_time")
        head = (await self._repository.marks())[1]
        async for page in self._repository.pages(request.after_seq, head.seq, start, end):
            for entry in page:
                yield pb.ExportAuditRecordsResponse(record=record_message(entry))

    async def verify_audit_records(self, request: pb.VerifyAuditRecordsRequest, _: Call) -> pb.VerifyAuditRecordsResponse:
        """Computes all hashes anew."""
        if len(request.known_hash) not in {0, _HASH_CHARS} or bool(request.known_hash) != bool(request.known_seq):
            violation = Violation("known_hash", "must be the hash of the record at known_seq; both are set, or none")
            raise InvalidArgumentError("known_hash is not one of ours.", reason="HASH_INVALID", violations=[violation])
        known = Mark(request.known_seq, request.known_hash) if request.known_seq else None
        verdict = await self._verdict(known)
        return pb.VerifyAuditRecordsResponse(
            is_intact=verdict.is_intact,
            checked=verdict.checked,
            broken_seq=verdict.broken_seq,
            head_seq=verdict.head.seq,
            head_hash=verdict.head.hash,
        )

    async def _verdict(self, known: Mark | None) -> Verdict:
        cut, head = await self._repository.marks()
        verification = Verification(cut, known)
        async for page in self._repository.pages(cut.seq, head.seq):
            if not verification.take(page):
                break
        verdict = verification.verdict(head)
        # Old records may have gone while they were read, which is as it should be.
        is_moved = not verdict.is_intact and (await self._repository.marks())[0] != cut
        return await self._verdict(known) if is_moved else verdict


def record_message(entry: Entry) -> pb.AuditRecord:
    """A record as clients see it."""
    document: dict[str, Any] = orjson.loads(entry.body)
    time = Timestamp()
    time.FromMicroseconds(document["time_us"])
    fields = {name: document[name] for name in _FIELDS if name in document}
    return pb.AuditRecord(seq=entry.seq, hash=entry.hash, body=entry.body, time=time, **fields)


def _bound(request: Any, name: str) -> datetime | None:
    """Raises InvalidArgumentError when the time is none that a calendar has."""
    if not request.HasField(name):
        return None
    try:
        bound: datetime = getattr(request, name).ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgumentError(f"{name} is no time.", reason="TIME_INVALID", violations=[Violation(name, "is out of range")]) from None
    return bound
