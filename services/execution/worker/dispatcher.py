"""The dispatcher: brings executions to this worker and keeps their leases.

PostgreSQL decides who runs what; the bus only wakes. What the bus loses, the sweep finds; what a dead worker held, the sweep takes over.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg

from mesh.bus import Bus
from mesh.group_commit import GroupCommit
from mesh.ids import canonical_uuid
from mesh.logs import get_logger
from mesh.settings import Settings
from mesh.streams import CONTROL_CANCEL, DISPATCH_RUN
from services.execution.errors import DATABASE_AWAY
from services.execution.worker.hooks import hook
from services.execution.worker.leases import Leases
from services.execution.worker.manager import ExecutionManager
from services.execution.worker.pull import Pull

_log = get_logger("execution.dispatcher")

# A queued execution this old has lost its message, or waits for want of slots; a worker with a free slot takes it either way.
QUEUED_FOR_S = 2.0
_MISSED_BEATS = 5
_RETRY_S = 0.5
_FINISH_S = 1.0
_BUS_AWAY = (OSError, TimeoutError, nats.errors.Error)


class Dispatcher:
    """Claims executions for a manager, renews their leases, and passes on who wants to stop them."""

    def __init__(self, manager: ExecutionManager, leases: Leases, settings: Settings) -> None:
        self._manager = manager
        self._leases = leases
        self._settings = settings
        self._claims: GroupCommit[Msg] = GroupCommit(self._claim, max_batch=256)
        self._last_beat = time.monotonic()
        # Held from the claim to its acceptance: a claim that is cut between the two would strand its runs for a lease.
        self._claiming = asyncio.Lock()

    @property
    def is_healthy(self) -> bool:
        """True while the leases are being renewed."""
        return time.monotonic() - self._last_beat < _MISSED_BEATS * self._settings.heartbeat_s + _RETRY_S

    async def run_claims(self) -> None:
        """Claims what the bus brings, in batches, until cancelled."""
        await self._claims.run()

    async def run_heartbeats(self) -> None:
        """Renews the leases until cancelled."""
        await self._every(self._settings.heartbeat_s, self._beat)

    async def run_sweeps(self) -> None:
        """Looks for lost executions until cancelled."""
        await self._every(self._settings.sweep_s, self._sweep)

    async def run_bus(self, bus: Bus) -> None:
        """Listens to the bus until cancelled."""
        subscription = await bus.nc.subscribe(CONTROL_CANCEL, cb=self._on_cancel)
        try:
            await Pull(bus, lambda: self._manager.free, self._manager.slot_freed, self._claims.add).run()
        finally:
            if bus.is_connected:
                await subscription.unsubscribe()

    async def finish_claims(self) -> None:
        """Waits for the claim at work and lets no other begin; gives up on a database that does not answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_S):
                await self._claiming.acquire()

    async def release(self, leases: list[tuple[str, int]], bus: Bus | None) -> None:
        """Gives leases back and calls for another worker at once."""
        try:
            released = await self._leases.release(leases)
        except DATABASE_AWAY:
            # They run out by themselves.
            return
        _log.info("leases_released", executions=len(released))
        if bus is not None and bus.is_connected:
            for execution_id in released:
                await bus.nc.publish(DISPATCH_RUN, execution_id.encode())
            await bus.nc.flush()

    async def _claim(self, messages: list[Msg]) -> None:
        found = (canonical_uuid(message.data.decode(errors="replace")) for message in messages)
        ids = [execution_id for execution_id in found if execution_id]
        try:
            async with self._claiming:
                await hook("claim.before")
                claims = await self._leases.claim(ids)
                await hook("claim.after")
                self._manager.accept(claims)
        except DATABASE_AWAY as error:
            # Not acknowledged: they come again, if the sweep is not faster.
            _log.warning("claim_failed", executions=len(ids), error=type(error).__name__)
            return
        for message in messages:
            try:
                await message.ack()
            except _BUS_AWAY:
                return

    async def _sweep(self) -> None:
        free = self._manager.free
        if free <= 0:
            return
        async with self._claiming:
            claims = await self._leases.claim_stranded(free, QUEUED_FOR_S)
            self._manager.accept(claims)
        if claims:
            _log.info("swept", executions=len(claims), resumed=sum(claim.last_seq > 1 for claim in claims))

    async def _beat(self) -> None:
        held = self._manager.held
        if held:
            renewal = await self._leases.renew(held)
            for execution_id in renewal.lost:
                _log.warning("lease_lost", execution_id=execution_id)
                self._manager.lose(execution_id)
            for execution_id in renewal.cancelled:
                self._manager.cancel(execution_id)
        self._last_beat = time.monotonic()

    async def _on_cancel(self, message: Msg) -> None:
        self._manager.cancel(message.data.decode(errors="replace"))

    async def _every(self, period_s: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except DATABASE_AWAY as error:
                _log.warning("database_away", step=step.__name__, error=type(error).__name__)
            await asyncio.sleep(period_s)
