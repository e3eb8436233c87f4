"""Reads what happened in an execution: pages of events from either end, values kept beside them, and the live stream."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from treadle.execution.v1 import execution_service_pb2 as pb

from mesh.bus import Bus
from mesh.event_lines import LAST_KINDS, read_message
from mesh.streams import execution_subject
from mesh.tail import Source, Tail
from services.execution.errors import value_not_found
from services.execution.lines import Renderer, read_row
from services.execution.live import LiveRuns
from services.execution.messages import events_of
from services.execution.repository.executions import ExecutionRepository, Record
from services.execution.repository.journal_reads import JournalRow
from services.execution.sizes import content
from services.execution.snapshots import Snapshots

WATCH_PAGE = 500
# Text of values in one page. UTF-8 takes at most three bytes for what JSON text has, and a message holds 4 MiB.
MAX_PAGE_CHARS = 1024 * 1024
ENDED = frozenset({"COMPLETED", "TERMINATED", "FAILED"})


class History:
    """What happened in executions. Callers have made sure that the execution is the owner's."""

    def __init__(self, repository: ExecutionRepository, snapshots: Snapshots, live: LiveRuns | None = None) -> None:
        """`live` saves those who watch a new execution the way to the journal."""
        self._repository = repository
        self._snapshots = snapshots
        self._live = live

    async def events(self, record: Record, after_seq: int, limit: int) -> list[pb.Event]:
        """Events after `after_seq`, in order: up to `limit`, fewer when they are large, none only when there is none."""
        rows = await self._repository.events(record.id, after_seq, limit)
        return _fitting(await self._shown(record, rows, after_seq + 1, after_seq + limit))

    async def events_before(self, record: Record, before_seq: int, after_seq: int, limit: int) -> list[pb.Event]:
        """The last events before `before_seq` and after `after_seq`, in order: as many as above, and none only when there is none."""
        before_seq = min(before_seq, record.last_seq + 1)
        first_seq = max(before_seq - limit, after_seq + 1)
        rows = await self._repository.events_before(record.id, before_seq, before_seq - first_seq)
        return _fitting(await self._shown(record, rows, first_seq, before_seq - 1), is_from_end=True)

    async def value(self, record: Record, sha256: str) -> str:
        """A value kept beside the journal, or of the inputs and outputs, as JSON text. Raises NotFoundError (VALUE_NOT_FOUND)."""
        found = (await self._repository.values(record.id, [sha256])).get(sha256)
        if found is None:
            whole = await self._repository.get(record.id, record.owner_id)
            # Hashing megabytes would hold up the other calls.
            found = await asyncio.to_thread(content, whole.inputs, whole.outputs, sha256) if whole is not None else None
        if found is None:
            raise value_not_found(sha256)
        return found

    async def _shown(self, record: Record, rows: Sequence[JournalRow], first_seq: int, last_seq: int) -> list[pb.Event]:
        if not rows:
            return []
        renderer = Renderer(record.id, (await self._snapshots.get(*record.snapshot)).names.nodes)
        found: list[pb.Event] = []
        for row in rows:
            skipped = max(first_seq - row.seq, 0)
            lines = read_row(row.events)[skipped : max(last_seq + 1 - row.seq, 0)]
            found.extend(renderer.proto(row.seq + skipped, lines))
        return found

    async def watch(self, record: Record, after_seq: int, bus: Bus | None) -> AsyncGenerator[Sequence[pb.Event]]:
        """Batches of events after `after_seq`, those of the journal, then new ones, to the terminal one."""

        seq = after_seq
        live = self._live.get(record.id, record.owner_id) if self._live is not None else None
        if live is not None:
            async with aclosing(live.follow(seq)) as batches:
                async for batch in batches:
                    yield batch
                    seq = batch[-1].seq
                    if batch[-1].kind in LAST_KINDS:
                        return

        async def page(seq: int) -> Sequence[pb.Event] | None:
            found = await self.events(record, seq, WATCH_PAGE)
            if found:
                return found
            now = await self._repository.head(record.id, record.owner_id)
            is_over = now is None or (now.status in ENDED and now.last_seq <= seq)
            return None if is_over else ()

        def decode(payload: bytes, after: int) -> Sequence[pb.Event]:
            return events_of(read_message(payload), after)

        source = Source(page, decode, lambda event: event.seq, lambda event: event.kind in LAST_KINDS)
        tail = Tail(source, None if bus is None else bus.nc, execution_subject(record.owner_id, record.id))
        async with aclosing(tail.follow(seq)) as batches:
            async for batch in batches:
                yield batch


def _fitting(events: list[pb.Event], *, is_from_end: bool = False) -> list[pb.Event]:
    """The first events, or the last, that fit into one message together, at least one."""
    size = 0
    for at, event in enumerate(reversed(events) if is_from_end else events):
        size += len(event.value.json)
        if size > MAX_PAGE_CHARS and at:
            return events[-at:] if is_from_end else events[:at]
    return events
