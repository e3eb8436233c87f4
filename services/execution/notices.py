"""What the service tells the bus: a run waits for a worker, and what happened in one. Losing any of it costs time only."""

import asyncio
from collections.abc import Sequence

from mesh.bus import Bus
from services.execution.bell import Bell
from services.execution.lines import Line
from services.execution.live import LiveRuns
from services.execution.publisher import Committed, Publisher
from services.execution.repository.executions import Record
from services.execution.repository.signals import Woken
from services.execution.repository.tree import Stopped

# The bus client writes in a task of its own, and what it writes leaves at the end of that turn.
_TURNS_TO_SEND = 2


class Notices:
    """Tells workers and watchers about executions. Does without the bus until it is there, and while it is away."""

    def __init__(self, publisher: Publisher, live: LiveRuns | None = None) -> None:
        """`live` is told of each new execution before a worker is."""
        self._publisher = publisher
        self._live = live
        self.bell = Bell()
        self.bus: Bus | None = None

    def attach(self, bus: Bus) -> None:
        """Gives it the bus, once that is connected for the first time."""
        self.bus = self.bell.bus = bus
        self._publisher.attach(bus)

    async def created(self, record: Record, first: Line) -> None:
        """A new execution: wakes a worker."""
        if self._live is not None and self.bus is not None and self.bus.is_connected:
            await self._live.expect(record, self.bus)
        await self.bell.wake([record.id])
        self.happened(record, 1, [first])
        # The worker begins while this process turns to the answer: after these turns of the loop the message has left.
        for _ in range(_TURNS_TO_SEND):
            await asyncio.sleep(0)

    async def made(self, execution_id: str, owner_id: str, graph_id: str, first: Line) -> None:
        """A new execution that no caller asked for: wakes a worker."""
        await self.bell.wake([execution_id])
        self._publisher.add(Committed(owner_id, execution_id, graph_id, (), 1, [first]))

    async def signalled(self, woken: Woken) -> None:
        """Answers came for these."""
        await self.bell.signal(woken)

    def happened(self, record: Record | Stopped, seq: int, lines: Sequence[Line]) -> None:
        """Events of the whole run, from `seq` on, that no worker wrote."""
        execution_id = record.execution_id if isinstance(record, Stopped) else record.id
        self._publisher.add(Committed(record.owner_id, execution_id, record.graph_id, (), seq, lines))
