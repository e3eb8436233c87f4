"""The dispatcher: brings executions to this worker and keeps their leases.

PostgreSQL decides who runs what; the bus only wakes. What the bus loses, the sweep finds; what a dead worker held, the sweep takes over.
While executions wait for slots or for their owners' limits, this worker is *behind*: then it looks in the database whom to serve next,
and what the bus brings says nothing new.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg

from mesh.bus import Bus, settled
from mesh.group_commit import GroupCommit
from mesh.ids import canonical_uuid
from mesh.logs import get_logger
from mesh.settings import Settings
from mesh.streams import CONTROL_CANCEL, CONTROL_SIGNAL, DISPATCH_RUN
from services.execution.errors import DATABASE_AWAY
from services.execution.hooks import hook
from services.execution.worker.claims import Claims
from services.execution.worker.leases import Claim, Leases
from services.execution.worker.manager import ExecutionManager
from services.execution.worker.pull import Pull
from services.execution.worker.quarantine import Quarantine
from services.execution.worker.rounds import Rounds
from services.execution.worker.suspects import Probation, Suspects

_log = get_logger("execution.dispatcher")

# A queued execution this old has lost its message, or waits for slots or limits.
QUEUED_FOR_S = 0.5
# While behind: how often freed slots are filled, and how many messages are taken at a time to be done with them.
REFILL_S = 0.02
_IDLE_REFILL_S = 0.1
_DRAIN = 256
_RETRY_S = 0.5
_FINISH_S = 1.0
_FLUSH_S = 5.0
# A message that comes while suspects are on probation goes to another worker, or comes again after this.
_HAND_BACK_S = 0.25
_BUS_AWAY = (OSError, TimeoutError, nats.errors.Error)


class Dispatcher:
    """Claims executions for a manager, renews their leases, and passes on what callers want of them."""

    def __init__(
        self,
        *,
        manager: ExecutionManager,
        claims: Claims,
        suspects: Suspects,
        leases: Leases,
        quarantine: Quarantine,
        rounds: Rounds,
        settings: Settings,
    ) -> None:
        self._manager = manager
        self._claims = claims
        self._suspects = suspects
        self._probation: Probation | None = None
        self._leases = leases
        self._quarantine = quarantine
        self._settings = settings
        self._incoming: GroupCommit[Msg] = GroupCommit(self._claim, max_batch=_DRAIN)
        self._rounds = rounds
        self._last_answer = time.monotonic()
        self._steady_from = 0.0
        self._behind = asyncio.Event()
        # Held from the claim to its acceptance: a claim that is cut between the two would strand its runs for a lease.
        self._claiming = asyncio.Lock()

    def database_was_away(self) -> None:
        """Leases may have run out although their workers live: they get the time to renew them before anyone takes their runs."""
        self._steady_from = time.monotonic() + self._settings.lease_s

    async def run_claims(self) -> None:
        """Claims what the bus brings, in batches, until cancelled."""
        await self._incoming.run()

    async def run_refills(self) -> None:
        """While behind, fills slots as they become free, fairly; until cancelled."""
        while True:
            if not self._behind.is_set():
                self._rounds.rests("refills")
                await self._behind.wait()
                self._rounds.done("refills")
            pause_s = REFILL_S
            try:
                pause_s = await self._refill()
                self._rounds.done("refills", pause_s)
            except DATABASE_AWAY as error:
                self._away("refill", error)
            except Exception as error:  # noqa: BLE001,RUF100 - whatever it is, the next time may do better
                _log.error("step_failed", step="refill", exc_info=error)
            await asyncio.sleep(pause_s)

    async def run_heartbeats(self) -> None:
        """Renews the leases until cancelled."""
        await self._every("heartbeats", self._settings.heartbeat_s, self._beat)

    async def run_sweeps(self) -> None:
        """Looks for executions that are lost, due or forgotten, until cancelled."""
        await self._every("sweeps", self._settings.sweep_s, self._sweep)

    async def run_bus(self, bus: Bus) -> None:
        """Listens to the bus until cancelled."""
        subscriptions = [
            await bus.nc.subscribe(CONTROL_CANCEL, cb=self._on_cancel),
            await bus.nc.subscribe(CONTROL_SIGNAL, cb=self._on_signal),
        ]
        try:
            await Pull(bus, self._wanted, self._manager.slot_freed, self._incoming.add).run()
        finally:
            if bus.is_connected:
                for subscription in subscriptions:
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
            with suppress(*_BUS_AWAY):
                await settled(bus.nc, _FLUSH_S)

    @property
    def _free(self) -> int:
        """Executions that may be accepted now: none beside suspects."""
        return 0 if self._probation is not None else self._manager.free

    def _wanted(self) -> int:
        """Messages that may come now."""
        return _DRAIN if self._behind.is_set() and self._probation is None else self._free

    async def _claim(self, messages: list[Msg]) -> None:
        found = (canonical_uuid(message.data.decode(errors="replace")) for message in messages)
        ids = list(dict.fromkeys(execution_id for execution_id in found if execution_id))
        try:
            async with self._claiming:
                # What is queued gets its turn by the refill; what goes on (it was parked, or released) is still taken from here.
                is_behind = self._behind.is_set()
                is_handed_back = self._probation is not None
                fitting = ids[: self._free]
                if fitting:
                    await hook("claim.before")
                    claims = await self._claims.claim(fitting, with_queued=not is_behind)
                    await hook("claim.after")
                    await self._accept(claims)
                    if not is_behind and len(claims) < len(ids):
                        self._fall_behind()
        except DATABASE_AWAY as error:
            # Not acknowledged: they come again, if the sweep is not faster.
            self._away("claim", error)
            return
        except Exception as error:  # noqa: BLE001,RUF100 - as above, and the writer goes on
            _log.error("step_failed", step="claim", exc_info=error)
            return
        await hook("ack.before")
        for message in messages:
            try:
                await (message.nak(_HAND_BACK_S) if is_handed_back else message.ack())
            except _BUS_AWAY:
                return

    async def _refill(self) -> float:
        """Claims for all free slots. Returns how long to wait before the next time."""
        async with self._claiming:
            free = self._free
            if free <= 0:
                return REFILL_S
            claims = await self._claims.claim_next(free)
            await self._accept(claims)
        if len(claims) < free and not await self._claims.is_any_queued(QUEUED_FOR_S):
            self._behind.clear()
        return REFILL_S if claims else _IDLE_REFILL_S

    async def _sweep(self) -> None:
        if time.monotonic() >= self._steady_from:
            await self._suspects.judge(self._manager.held)
            self._last_answer = time.monotonic()
        async with self._claiming:
            await self._go_on_with_suspects()
            if (free := self._free) > 0:
                await self._accept(await self._claims.claim_lost(free))
            # While behind, the refill shares what is free between these and what is queued.
            if (free := self._free) > 0 and not self._behind.is_set():
                await self._accept(await self._claims.claim_due(free))
        if not self._behind.is_set() and await self._claims.is_any_queued(QUEUED_FOR_S):
            self._fall_behind()

    async def _go_on_with_suspects(self) -> None:
        """Ends a probation whose time is over, and takes the next suspects if there are some for us."""
        last = self._probation
        if last is not None:
            left = last.left(self._manager.held)
            if left and not last.is_over:
                return
            if left:
                await self._suspects.acquit(left)
            self._probation = None
            # The pull waits for this to ask for messages again.
            self._manager.slot_freed.set()
        if self._manager.free > 0:
            self._probation = await self._suspects.claim(self._manager.free, is_idle=not self._manager.held)
            if self._probation is not None:
                claims = self._probation.claims
                _log.warning("suspects_claimed", executions=[claim.execution_id for claim in claims], attempts=claims[0].attempts)
                await self._accept(claims)

    async def _accept(self, claims: list[Claim]) -> None:
        """Takes over what the database has just given, perhaps nothing."""
        self._last_answer = time.monotonic()
        self._manager.accept([claim for claim in claims if not self._quarantine.is_due(claim)])
        for claim in claims:
            if self._quarantine.is_due(claim):
                await self._quarantine.end(claim)

    def _fall_behind(self) -> None:
        self._behind.set()
        # The pull waits for this to ask for messages again.
        self._manager.slot_freed.set()

    async def _beat(self) -> None:
        held = self._manager.held
        if held:
            renewal = await self._leases.renew(held)
            self._last_answer = time.monotonic()
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

    async def _every(self, name: str, period_s: float, step: Callable[[], Awaitable[None]]) -> None:
        self._rounds.done(name)
        while True:
            try:
                await step()
                self._rounds.done(name, period_s)
            except DATABASE_AWAY as error:
                self._away(step.__name__, error)
            except Exception as error:  # noqa: BLE001,RUF100 - a loop that ended would leave runs without care
                _log.error("step_failed", step=step.__name__, exc_info=error)
            await asyncio.sleep(period_s)

    def _away(self, step: str, error: BaseException) -> None:
        _log.warning("database_away", step=step, error=type(error).__name__)
        # One statement that failed among others that did not keeps nobody from renewing leases.
        if time.monotonic() - self._last_answer > self._settings.lease_s / 2:
            self.database_was_away()
