"""What the service tells the bus: a run waits for a worker, a run is to be stopped. Losing any of it costs time only."""

from collections.abc import Sequence
from contextlib import suppress

import nats.errors

from mesh.bus import Bus
from mesh.streams import CONTROL_CANCEL, DISPATCH_RUN
from services.execution.lines import Line, Names, Renderer
from services.execution.publisher import Committed, Publisher
from services.execution.repository import Record

_NO_NODES = Names(())


class Notices:
    """Tells workers and watchers about executions. Does without the bus until it is there, and while it is away."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.bus: Bus | None = None

    def attach(self, bus: Bus) -> None:
        """Gives it the bus, once that is connected for the first time."""
        self.bus = bus
        self._publisher.attach(bus)

    async def created(self, record: Record, first: Line) -> None:
        """A new execution: wakes a worker."""
        await self._send(DISPATCH_RUN, record.id)
        self.happened(record, 1, [first])

    async def cancel_wanted(self, execution_id: str) -> None:
        """A caller wants a running execution stopped: tells all workers, of which one has it."""
        await self._send(CONTROL_CANCEL, execution_id)

    def happened(self, record: Record, seq: int, lines: Sequence[Line]) -> None:
        """Events, from `seq` on, that no worker wrote."""
        renderer = Renderer(record.id, _NO_NODES)
        self._publisher.add(Committed(record.owner_id, record.id, record.graph_id, renderer, seq, lines))

    async def _send(self, subject: str, execution_id: str) -> None:
        # While the bus is away the client would keep it back and flood the workers later; they find the row by themselves.
        if self.bus is not None and self.bus.is_connected:
            with suppress(OSError, nats.errors.Error):
                await self.bus.nc.publish(subject, execution_id.encode())
