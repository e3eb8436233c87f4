"""Reads what happened in an execution: pages of events, the live stream, and the firings as a fold of the journal."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import jsontext
from mesh.bus import Bus
from mesh.streams import execution_subject
from mesh.tail import Source, Tail
from services.execution.engine import dataflow
from services.execution.engine.events import EventKind
from services.execution.engine.fold import apply
from services.execution.engine.state import State
from services.execution.engine.view import NodeExecution, node_executions
from services.execution.lines import Renderer, read_row
from services.execution.messages import events_of_payload
from services.execution.repository import ExecutionRepository, Record
from services.execution.snapshots import Snapshots

WATCH_PAGE = 500
# Text of values in one page. UTF-8 takes at most three bytes for what JSON text has, and a message holds 4 MiB.
MAX_PAGE_CHARS = 1024 * 1024
_FOLD_PAGE = 2000
ENDED = frozenset({"COMPLETED", "TERMINATED", "FAILED"})
_LAST_KINDS = frozenset(int(kind) for kind in EventKind if kind.is_terminal)


class History:
    """What happened in executions. Callers have made sure that the execution is the owner's."""

    def __init__(self, repository: ExecutionRepository, snapshots: Snapshots) -> None:
        self._repository = repository
        self._snapshots = snapshots

    async def events(self, record: Record, after_seq: int, limit: int) -> list[pb.Event]:
        """Events after `after_seq`, in order: up to `limit`, fewer when they are large, none only when there is none."""
        rows = await self._repository.events(record.id, after_seq, limit)
        if not rows:
            return []
        renderer = Renderer(record.id, (await self._snapshots.get(record.graph_id, record.graph_version)).names)
        found: list[pb.Event] = []
        for row in rows:
            skipped = max(after_seq + 1 - row.seq, 0)
            lines = read_row(row.events)[skipped : skipped + limit - len(found)]
            found.extend(renderer.proto(row.seq + skipped, lines))
        return _fitting(found)

    async def watch(self, record: Record, after_seq: int, bus: Bus | None) -> AsyncGenerator[Sequence[pb.Event]]:
        """Batches of events after `after_seq`, those of the journal, then new ones, to the terminal one."""

        async def page(seq: int) -> Sequence[pb.Event] | None:
            found = await self.events(record, seq, WATCH_PAGE)
            if found:
                return found
            now = await self._repository.get(record.id, record.owner_id)
            is_over = now is None or (now.status in ENDED and now.last_seq <= seq)
            return None if is_over else ()

        source = Source(page, events_of_payload, lambda event: event.seq, lambda event: event.kind in _LAST_KINDS)
        tail = Tail(source, None if bus is None else bus.nc, execution_subject(record.owner_id, record.id))
        async with aclosing(tail.follow(after_seq)) as batches:
            async for batch in batches:
                yield batch

    async def firings(self, record: Record, node_id: str) -> list[NodeExecution]:
        """The firings so far, in the order they came to be; of one node when it is named."""
        snapshot = await self._snapshots.get(record.graph_id, record.graph_version)
        state = State(snapshot.plan, record.id, jsontext.loads(record.input_masks))
        dataflow.start(state, jsontext.loads(record.inputs))
        seq = 0
        while rows := await self._repository.events(record.id, seq, _FOLD_PAGE):
            for row in rows:
                for line in read_row(row.events):
                    apply(state, line.event)
                # A long journal must not hold up the other calls.
                await asyncio.sleep(0)
            seq = rows[-1].seq + rows[-1].count - 1
        return node_executions(state, node_id)


def _fitting(events: list[pb.Event]) -> list[pb.Event]:
    """The first events that fit into one message together, at least one."""
    size = 0
    for at, event in enumerate(events):
        size += len(event.value.json)
        if size > MAX_PAGE_CHARS and at:
            return events[:at]
    return events
