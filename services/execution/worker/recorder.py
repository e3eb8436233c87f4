"""The pen of one run: what happens is folded into the state at once, written to the journal with the next commit, then published."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mesh.event_lines import NodeNames
from services.execution.engine.events import NO_FIRING, Event, EventKind
from services.execution.engine.fold import apply
from services.execution.engine.outcome import Outcome
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from services.execution.lines import MAX_INLINE_BYTES, Line, line_of, set_apart, write_row
from services.execution.publisher import Committed, Publisher
from services.execution.repository.entries import Ending, Entry, Parking, Value
from services.execution.repository.leases import Claim
from services.execution.sizes import MAX_VALUE_BYTES
from services.execution.worker.journal import Journal

# Events in one journal row at most, and about how many bytes of values.
MAX_ROW_EVENTS = 1000
MAX_ROW_BYTES = 512 * 1024

_PROGRESS = frozenset({EventKind.NODE_COMPLETED, EventKind.NODE_FAILED})


class ValueTooLargeError(ValueError):
    """An output beyond MAX_VALUE_BYTES; the message says how large it is."""


class Recorder:
    """Records the events of one run, for the holder of one lease.

    `recorded_seq` is the newest event of the state, `committed_seq` the newest that is durable: in between the run runs ahead.
    `recorded_bytes` is the size of all values so far, those of earlier workers included.
    """

    def __init__(self, claim: Claim, state: State | None, nodes: NodeNames, journal: Journal, publisher: Publisher) -> None:
        """`state` has folded the journal up to `claim.last_seq`; without one the run can only be abandoned."""
        self.recorded_seq = claim.last_seq
        self.committed_seq = claim.last_seq
        self.is_fenced = False
        self.recorded_bytes = 0
        self._claim = claim
        self._state = state
        self._nodes = nodes
        self._journal = journal
        self._publisher = publisher
        self._pending: deque[Line] = deque()
        self._in_flight: list[Line] = []
        # Large values of pending lines, by hash; what went to the journal once need not go again.
        self._contents: dict[str, str] = {}
        self._kept: set[str] = set()
        self._ending: Ending | Parking | None = None
        self._is_ending_due = False
        self._advanced = asyncio.Event()
        self._on_advance: Callable[[], None] = lambda: None

    def when_advanced(self, callback: Callable[[], None]) -> None:
        """`callback` is called after each commit of this run, and when it is fenced off."""
        self._on_advance = callback

    @property
    def ahead(self) -> int:
        """Events that are not durable yet."""
        return self.recorded_seq - self.committed_seq

    def record(
        self, kind: EventKind, firing: Firing | None = None, ordinal: int = 0, pin: str = "", value: Any = None, *, error: str = ""
    ) -> list[Firing]:
        """Folds an event and queues it for the next commit. Returns the firings that became ready. Raises ValueError or TypeError, with
        nothing done, when the value cannot be written as JSON or is too large. Does nothing once the run is sealed or fenced off.
        """
        if self._ending is not None or self.is_fenced:
            return []
        event = Event(kind, time.time_ns() // 1000, NO_FIRING if firing is None else firing.index, ordinal, pin, value, error)
        line = line_of(event, -1, 0) if firing is None else line_of(event, firing.node.index, firing.ordinal)
        if kind is EventKind.NODE_OUTPUT and len(bytes(line.value)) > MAX_VALUE_BYTES:
            raise ValueTooLargeError(f"{len(bytes(line.value))} bytes; the limit is {MAX_VALUE_BYTES}")
        if self._state is None:
            raise RuntimeError("a run without a state records nothing")
        ready = apply(self._state, event)
        self._append(line)
        return ready

    def seal(self, ending: Ending | Parking) -> None:
        """Says how the run ended, right after its terminal event was recorded, or that it waits; goes into the run's row with the newest
        event. Nothing is recorded afterwards.
        """
        self._ending = ending
        self._is_ending_due = True
        self._journal.add(self)

    def abandon(self, error: str) -> None:
        """Ends a run whose state cannot be trusted: FAILED with `error`, whatever the state says."""
        if self._ending is not None or self.is_fenced:
            return
        self._append(line_of(Event(EventKind.EXECUTION_FAILED, time.time_ns() // 1000, error=error), -1, 0))
        self.seal(Ending(Status.FAILED.name, Outcome.FAILED.name, "{}", "{}", error))

    def _append(self, line: Line) -> None:
        self.recorded_seq += 1
        size = len(bytes(line.value))
        self.recorded_bytes += size
        if size > MAX_INLINE_BYTES:
            line, content = set_apart(line)
            if line.ref not in self._kept:
                self._kept.add(line.ref)
                self._contents[line.ref] = content
        self._pending.append(line)
        self._journal.add(self)

    async def settle(self) -> None:
        """Returns when all that was recorded is durable, or never will be."""
        while (self.ahead or self._is_ending_due) and not self.is_fenced:
            self._advanced.clear()
            await self._advanced.wait()

    async def wait_below(self, ahead: int) -> None:
        """Returns when fewer than `ahead` events wait for their commit."""
        while self.ahead >= ahead and not self.is_fenced:
            self._advanced.clear()
            await self._advanced.wait()

    def take_entry(self) -> Entry | None:
        """The next journal row: what is pending, up to a limit."""
        if self.is_fenced or not (self._pending or self._is_ending_due):
            return None
        lines, size, is_progress = self._in_flight, 0, False
        values: list[Value] = []
        while self._pending and len(lines) < MAX_ROW_EVENTS and size < MAX_ROW_BYTES:
            line = self._pending.popleft()
            size += len(bytes(line.value))
            is_progress = is_progress or line.kind in _PROGRESS
            lines.append(line)
            content = self._contents.pop(line.ref, None) if line.ref else None
            if content is not None:
                values.append(Value(line.ref, int(bytes(line.value)), content))
                size += len(content)
        ending = None if self._pending else self._ending
        seq = self.committed_seq + 1
        return Entry(self._claim.execution_id, self._claim.epoch, seq, len(lines), write_row(lines), is_progress, ending, values)

    def on_committed(self, entry: Entry) -> None:
        """The row is durable: tells the bus and the run."""
        claim, lines, self._in_flight = self._claim, self._in_flight, []
        self.committed_seq += entry.count
        if entry.ending is not None:
            self._is_ending_due = False
        if lines:
            self._publisher.add(Committed(claim.owner_id, claim.execution_id, claim.graph_id, self._nodes, entry.seq, lines))
        if self._pending:
            self._journal.add(self)
        self._advanced.set()
        self._on_advance()

    def on_fenced(self) -> None:
        """Another writes this journal now."""
        self.is_fenced = True
        self._pending.clear()
        self._advanced.set()
        self._on_advance()
