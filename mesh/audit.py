"""Records of who did what, and how they leave the process: in batches, over a stream, to the audit service."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import nats.errors
import orjson
from nats.js.errors import Error as JetStreamError

from mesh.bus import Bus
from mesh.errors import UnavailableError
from mesh.ids import uuid7
from mesh.logs import get_logger
from mesh.metrics import Metrics
from mesh.streams import AUDIT_RECORDS, MESSAGE_ID, ensure_streams
from mesh.tasks import end

# The code of a record that is written before the call is handled: somebody is about to act for somebody else.
BEGUN = "BEGUN"

# What came within this time travels together.
GATHER_S = 0.1
# A message of the bus has a megabyte at most.
MAX_BATCH = 300
# Kept while the bus is away. What comes beyond stands in the process's own log only, the calls go on, and the audit log says how many.
MAX_WAITING = 50_000
LOST = "RecordsLost"
WRITE_TIMEOUT_S = 2.0
_RETRY_S = 1.0
_FLUSH_S = 2.0

_LOG = "treadle.audit.v1.AuditService"
_FAULTS = (OSError, nats.errors.Error, JetStreamError)

_log = get_logger("mesh.audit")


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One call. `actor_id` is who did it, `user_id` as whom; both are empty for strangers and for services that act for themselves.

    `resources` are the ids that the call was about, by name, and what its handler noted; never anything else of its content.
    `time_us` is microseconds since 1970.
    """

    actor_id: str
    user_id: str
    session_id: str
    workload: str
    service: str
    method: str
    resources: Mapping[str, str]
    code: str
    reason: str
    source_address: str
    request_id: str
    id: str = field(default_factory=uuid7)
    time_us: int = field(default_factory=lambda: time.time_ns() // 1000)

    def line(self) -> bytes:
        """As one line of JSON: the text that the log keeps and its hash covers."""
        return orjson.dumps(self)


class TakesRecords(Protocol):
    """What the chain needs of `Records`."""

    def add(self, record: AuditRecord) -> None:
        """Queues a record. Never raises."""

    async def write(self, record: AuditRecord) -> None:
        """Returns when the record is safe. Raises UnavailableError when that cannot be now."""


class Records:
    """Takes records of a process. What is added leaves soon; what is written has left when the call returns."""

    def __init__(self, connect: Callable[[], Awaitable[Bus]], metrics: Metrics) -> None:
        """`connect` gives the bus, and may wait for it."""
        self._connect = connect
        self._bus: Bus | None = None
        self._waiting: deque[AuditRecord] = deque()
        self._woken = asyncio.Event()
        self._lost = metrics.counter("treadle_audit_lost_total", "Audit records that found no room while the bus was away")
        # Lost since the audit log was last told.
        self._untold = 0

    def add(self, record: AuditRecord) -> None:
        """Queues a record. Never raises: when there is no room, it goes to the process's own log."""
        if len(self._waiting) >= MAX_WAITING:
            self._lose(record)
            self._untold += 1
            return
        self._waiting.append(record)
        self._woken.set()

    async def write(self, record: AuditRecord) -> None:
        """Returns when the record is on disk. Raises UnavailableError (AUDIT_UNAVAILABLE) when it cannot be written now."""
        if self._bus is not None:
            try:
                await self._publish(self._bus, [record])
            except _FAULTS as error:
                _log.warning("audit_record_refused", fault=type(error).__name__)
            else:
                return
        raise UnavailableError("This must be recorded first, and cannot be now. Try again shortly.", reason="AUDIT_UNAVAILABLE")

    async def run(self) -> None:
        """Sends what is added until cancelled, through any outage of the bus."""
        bus = await self._connect()
        while True:
            try:
                await ensure_streams(bus.js)
                self._bus = bus
                await self._send(bus)
            except Exception as error:  # whatever it was, what waits must not wait for ever
                _log.warning("audit_waits_for_bus", fault=type(error).__name__, waiting=len(self._waiting))
                await asyncio.sleep(_RETRY_S)
                # Whoever woke it before will not do so again.
                self._woken.set()

    async def flush(self) -> None:
        """Sends what is left, as far as that is quickly done; the rest goes to the process's own log."""
        try:
            async with asyncio.timeout(_FLUSH_S):
                while self._waiting and self._bus is not None:
                    await self._send_batch(self._bus)
        except Exception as error:  # whatever it was, the rest is written down
            _log.warning("audit_flush_failed", fault=type(error).__name__)
        while self._waiting:
            self._lose(self._waiting.popleft())

    def _lose(self, record: AuditRecord) -> None:
        self._lost.inc()
        _log.error("audit_record_lost", record=record.line().decode())

    async def _send(self, bus: Bus) -> None:
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER_S)
            self._woken.clear()
            is_full = True
            while self._waiting and is_full:
                await self._send_batch(bus)
                self._tell_of_losses()
                # What came meanwhile gathers again, or a busy process would send every record by itself.
                is_full = len(self._waiting) >= MAX_BATCH

    def _tell_of_losses(self) -> None:
        """There is room again: the audit log has a gap, and must say so."""
        if self._untold:
            self._waiting.append(AuditRecord("", "", "", "", _LOG, LOST, {"count": str(self._untold)}, "DATA_LOSS", "", "", ""))
            self._untold = 0
            self._woken.set()

    async def _send_batch(self, bus: Bus) -> None:
        batch = [self._waiting[n] for n in range(min(len(self._waiting), MAX_BATCH))]
        await self._publish(bus, batch)
        for _ in batch:
            self._waiting.popleft()

    async def _publish(self, bus: Bus, batch: list[AuditRecord]) -> None:
        """A batch that is sent again has the same id, and counts once."""
        body = b"\n".join(record.line() for record in batch)
        headers = {MESSAGE_ID: f"{batch[0].id}:{len(batch)}"}
        await bus.js.publish(AUDIT_RECORDS, body, timeout=WRITE_TIMEOUT_S, headers=headers)


@asynccontextmanager
async def recording(connect: Callable[[], Awaitable[Bus]], metrics: Metrics) -> AsyncIterator[Records]:
    """Records that leave the process while the context lasts."""
    records = Records(connect, metrics)
    task = asyncio.create_task(records.run(), name="audit")
    try:
        yield records
    finally:
        await end(task)
        await records.flush()
