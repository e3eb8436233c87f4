"""Pages of the firings of executions. An index of each execution asked for is kept for a while and grows with its journal."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import jsontext
from services.execution.engine.events import EventKind
from services.execution.errors import node_not_found
from services.execution.firing_index import FiringIndex, Place
from services.execution.firing_messages import FiringMessages
from services.execution.lines import Line, read_row
from services.execution.repository.executions import ExecutionRepository, Record
from services.execution.snapshots import Snapshots

# Outputs shown of one firing. A generator has any number of them: the events have them all.
OUTPUTS_SHOWN = 100
# A page ends early when it holds this much: a message has 4 MiB.
MAX_PAGE_BYTES = 1024 * 1024
# Indexes that are kept, by their weight in bytes. One larger than this is made anew for each page.
MAX_KEPT_BYTES = 64 * 1024 * 1024
_FOLD_EVENTS = 5000
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Page:
    """Firings, and the place of the next page; None when this is the last."""

    firings: Sequence[pb.NodeExecution]
    next: int | None


class _Kept:
    """An index and the right to let it grow."""

    __slots__ = ("index", "lock")

    def __init__(self, index: FiringIndex) -> None:
        self.index = index
        self.lock = asyncio.Lock()


class Firings:
    """Shows firings. Callers have made sure that the execution is the owner's."""

    def __init__(self, repository: ExecutionRepository, snapshots: Snapshots, *, max_parallel_nodes: int) -> None:
        """`max_parallel_nodes` is the workers' limit, for the reason why a firing waits."""
        self._repository = repository
        self._snapshots = snapshots
        self._max_parallel = max_parallel_nodes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def page(self, record: Record, node_id: str, first: int, size: int) -> Page:
        """Up to `size` firings from place `first` on, in the order they came to be; of one node when it is named. Fewer when they are
        large. Raises NotFoundError (NODE_NOT_FOUND).
        """
        snapshot = await self._snapshots.get(*record.snapshot)
        nodes = [node_id for node_id, _ in snapshot.names.nodes]
        if node_id and node_id not in nodes:
            raise node_not_found(node_id)
        kept = await self._index(record)
        async with kept.lock:
            try:
                await self._grow(record, kept.index)
            except BaseException:
                # It may have stopped in the middle of a row.
                self._kept.pop(record.id, None)
                raise
            self._forget()
            messages = FiringMessages(record.id, snapshot.names, kept.index.state, self._max_parallel)
            chosen = list(islice(kept.index.of_node(nodes.index(node_id) if node_id else None, first), size + 1))
            return await self._page(record.id, kept.index, messages, chosen, size)

    async def _page(self, execution_id: str, index: FiringIndex, messages: FiringMessages, chosen: Sequence[int], size: int) -> Page:
        places = [index.place(at) for at in chosen[:size]]
        rows = _Rows(self._repository, execution_id, [index.row_of(seq) for place in places for seq in place.seqs])
        shown: list[pb.NodeExecution] = []
        size_bytes = 0
        for place in places:
            message = messages.of(place, await _lines(index, rows, place))
            size_bytes += message.ByteSize()
            if shown and size_bytes > MAX_PAGE_BYTES:
                return Page(shown, place.index)
            shown.append(message)
        return Page(shown, chosen[size] if len(chosen) > size else None)

    async def _index(self, record: Record) -> _Kept:
        kept = self._kept.get(record.id)
        if kept is None:
            snapshot = await self._snapshots.get(*record.snapshot)
            inputs, masks = jsontext.loads(record.inputs), jsontext.loads(record.input_masks)
            made = _Kept(FiringIndex(snapshot.plan, record.id, inputs, masks, outputs_shown=OUTPUTS_SHOWN))
            kept = self._kept.setdefault(record.id, made)
        self._kept.move_to_end(record.id)
        return kept

    async def _grow(self, record: Record, index: FiringIndex) -> None:
        while index.seq < record.last_seq:
            rows = await self._repository.events(record.id, index.seq, _FOLD_EVENTS)
            for row in rows:
                index.add_row(row.seq, await self._repository.lines(record.id, row))
                # A long journal must not hold up the other calls.
                await asyncio.sleep(0)
            if not rows:
                return

    def _forget(self) -> None:
        total = sum(kept.index.weight for kept in self._kept.values())
        while self._kept and total > MAX_KEPT_BYTES:
            total -= self._kept.popitem(last=False)[1].index.weight


async def _lines(index: FiringIndex, rows: "_Rows", place: Place) -> dict[int, Line]:
    """The events of a firing by seq; of its outputs, those that fit into one message."""
    lines: dict[int, Line] = {}
    size = 0
    for seq in place.seqs:
        line = await rows.line(index.row_of(seq), seq)
        size += len(bytes(line.value))
        if line.kind != EventKind.NODE_OUTPUT or size <= MAX_PAGE_BYTES:
            lines[seq] = line
    return lines


class _Rows:
    """The journal rows that a page needs, a few at a time and in the order they are needed."""

    def __init__(self, repository: ExecutionRepository, execution_id: str, wanted: Sequence[int]) -> None:
        self._repository = repository
        self._execution_id = execution_id
        self._wanted: Iterator[int] = iter(dict.fromkeys(wanted))
        self._lines: OrderedDict[int, list[Line]] = OrderedDict()

    async def line(self, row: int, seq: int) -> Line:
        """The event with this seq, which is in the row that begins with `row`."""
        if row not in self._lines:
            asked = [row, *islice((other for other in self._wanted if other != row and other not in self._lines), _ROWS_AT_ONCE - 1)]
            for found in await self._repository.events_at(self._execution_id, asked):
                self._lines[found.seq] = read_row(found.events)
            while len(self._lines) > 2 * _ROWS_AT_ONCE:
                oldest = next(iter(self._lines))
                if oldest == row:
                    self._lines.move_to_end(oldest)
                    continue
                del self._lines[oldest]
        return self._lines[row][seq - row]
