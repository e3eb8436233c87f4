"""The keeper: sees to the runs that are here. Renews their leases, tells them what callers want of them, and gives them back at the end."""

import asyncio
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg

from mesh.bus import Bus, settled
from mesh.logs import get_logger
from mesh.settings import Settings
from mesh.streams import CONTROL_CANCEL, CONTROL_SIGNAL, DISPATCH_RUN
from services.execution.errors import DATABASE_AWAY
from services.execution.repository.leases import Claim, Leases
from services.execution.worker.loops import every
from services.execution.worker.manager import ExecutionManager
from services.execution.worker.quarantine import Quarantine
from services.execution.worker.rounds import Rounds

_log = get_logger("execution.keeper")

_FLUSH_S = 5.0
_BUS_AWAY = (OSError, TimeoutError, nats.errors.Error)


class Keeper:
    """Keeps the runs of a manager."""

    def __init__(self, manager: ExecutionManager, leases: Leases, quarantine: Quarantine, rounds: Rounds, settings: Settings) -> None:
        self._manager = manager
        self._leases = leases
        self._quarantine = quarantine
        self._rounds = rounds
        self._settings = settings

    async def accept(self, claims: list[Claim]) -> None:
        """Takes over what the database has just given, perhaps nothing. Raises database errors when what is to be given up could not be."""
        self._manager.accept([claim for claim in claims if not self._quarantine.is_due(claim)])
        for claim in claims:
            if self._quarantine.is_due(claim):
                await self._quarantine.end(claim)

    async def run_heartbeats(self) -> None:
        """Renews the leases until cancelled."""
        await every(self._settings.heartbeat_s, self._beat, self._rounds)

    async def listen(self, bus: Bus) -> None:
        """Passes on what callers want, until cancelled."""
        subscriptions = [
            await bus.nc.subscribe(CONTROL_CANCEL, cb=self._on_cancel),
            await bus.nc.subscribe(CONTROL_SIGNAL, cb=self._on_signal),
        ]
        try:
            await asyncio.Event().wait()
        finally:
            if bus.is_connected:
                for subscription in subscriptions:
                    await subscription.unsubscribe()

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
            with suppress(*_BUS_AWAY):
                await settled(bus.nc, _FLUSH_S)

    async def _beat(self) -> None:
        held = self._manager.held
        if held:
            renewal = await self._leases.renew(held)
            for execution_id in renewal.lost:
                _log.warning("lease_lost", execution_id=execution_id)
                self._manager.lose(execution_id)
            for execution_id in renewal.cancelled:
                self._manager.cancel(execution_id)
            for execution_id in renewal.signalled:
                self._manager.signal(execution_id)

    async def _on_cancel(self, message: Msg) -> None:
        self._manager.cancel(message.data.decode(errors="replace"))

    async def _on_signal(self, message: Msg) -> None:
        self._manager.signal(message.data.decode(errors="replace"))
