"""Rings for workers over the bus. Losing any of it costs time only: the sweep and the heartbeats find the same in the database."""

import datetime as dt
import time
from collections.abc import Iterable
from contextlib import suppress

import nats.errors

from mesh.bus import Bus
from mesh.streams import CONTROL_CANCEL, CONTROL_SIGNAL, DISPATCH_RUN, SCHEDULE_AT, SCHEDULE_TARGET, timer_subject
from services.execution.repository.signals import Woken

# Times farther off are left to the sweep, which is less exact: the bus would hold a message for each, also of runs long cancelled.
HORIZON_S = 900.0


class Bell:
    """Tells workers of executions that need them. Does without the bus until it is there, and while it is away."""

    def __init__(self) -> None:
        self.bus: Bus | None = None

    async def wake(self, execution_ids: Iterable[str]) -> None:
        """These wait for a worker; one of all workers hears of each."""
        await self._ring(DISPATCH_RUN, execution_ids)

    async def stop(self, execution_ids: Iterable[str]) -> None:
        """Callers want these stopped; all workers hear of it, of which one has it."""
        await self._ring(CONTROL_CANCEL, execution_ids)

    async def signal(self, woken: Woken) -> None:
        """These got an answer: wakes the parked ones, tells the workers of the others."""
        await self._ring(DISPATCH_RUN, woken.parked)
        await self._ring(CONTROL_SIGNAL, woken.held)

    async def wake_at(self, execution_id: str, time_us: int) -> None:
        """This one is to go on at a time (microseconds since 1970 UTC), if that is soon. The bus keeps its newest time only."""
        if time_us / 1_000_000 > time.time() + HORIZON_S:
            return
        text = dt.datetime.fromtimestamp(time_us / 1_000_000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        headers = {SCHEDULE_AT: f"@at {text}", SCHEDULE_TARGET: DISPATCH_RUN}
        await self._ring(timer_subject(execution_id), [execution_id], headers)

    async def _ring(self, subject: str, execution_ids: Iterable[str], headers: dict[str, str] | None = None) -> None:
        # While the bus is away the client would keep it back and flood the workers later; they find the rows by themselves.
        if self.bus is None or not self.bus.is_connected:
            return
        with suppress(OSError, nats.errors.Error):
            for execution_id in execution_ids:
                await self.bus.nc.publish(subject, execution_id.encode(), headers=headers)
