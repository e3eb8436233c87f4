"""The dispatcher: brings executions to this worker.

PostgreSQL decides who runs what; the bus only wakes. What the bus loses, the sweep finds; what a dead worker held, the sweep takes over.
While executions wait for slots or for their owners' limits, this worker is *behind*: then it looks in the database whom to serve next,
and what the bus brings says nothing new.
"""

import asyncio
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg

from mesh.bus import Bus
from mesh.group_commit import GroupCommit
from mesh.ids import canonical_uuid
from mesh.settings import Settings
from services.execution.hooks import hook
from services.execution.repository.claims import Claims
from services.execution.worker.judge import Judge
from services.execution.worker.keeper import Keeper
from services.execution.worker.loops import every, failed
from services.execution.worker.manager import ExecutionManager
from services.execution.worker.pull import Pull
from services.execution.worker.rounds import Rounds

# A queued execution this old has lost its message, or waits for slots or limits.
QUEUED_FOR_S = 0.5
# While behind: how often freed slots are filled, and how many messages are taken at a time to be done with them.
REFILL_S = 0.02
_IDLE_REFILL_S = 0.1
_DRAIN = 256
_FINISH_S = 1.0
_REFILLS = "refills"
_BUS_AWAY = (OSError, TimeoutError, nats.errors.Error)


class Dispatcher:
    """Claims executions and has them kept; judges lost workers."""

    def __init__(
        self, *, manager: ExecutionManager, keeper: Keeper, claims: Claims, judge: Judge, rounds: Rounds, settings: Settings
    ) -> None:
        self._manager = manager
        self._keeper = keeper
        self._claims = claims
        self._judge = judge
        self._rounds = rounds
        self._settings = settings
        self._incoming: GroupCommit[Msg] = GroupCommit(self._claim, max_batch=_DRAIN)
        self._behind = asyncio.Event()
        # Held from the claim to its acceptance: a claim that is cut between the two would strand its runs for a lease.
        self._claiming = asyncio.Lock()

    async def run_claims(self) -> None:
        """Claims what the bus brings, in batches, until cancelled."""
        await self._incoming.run()

    async def run_refills(self) -> None:
        """While behind, fills slots as they become free, fairly; until cancelled."""
        while True:
            if not self._behind.is_set():
                self._rounds.rests(_REFILLS)
                await self._behind.wait()
                self._rounds.done(_REFILLS)
            pause_s = REFILL_S
            try:
                pause_s = await self._refill()
                self._rounds.done(_REFILLS, pause_s)
            except Exception as error:  # noqa: BLE001,RUF100 - whatever it is, the next time may do better
                failed("refill", error)
            await asyncio.sleep(pause_s)

    async def run_sweeps(self) -> None:
        """Looks for executions that are lost, due or forgotten, until cancelled."""
        await every(self._settings.sweep_s, self._sweep, self._rounds)

    async def run_pull(self, bus: Bus) -> None:
        """Takes what the bus brings until cancelled."""
        await Pull(bus, self._wanted, self._manager.slot_freed, self._incoming.add).run()

    async def finish_claims(self) -> None:
        """Waits for the claim at work and lets no other begin; gives up on a database that does not answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_S):
                await self._claiming.acquire()

    def _wanted(self) -> int:
        """Messages that may come now."""
        return _DRAIN if self._behind.is_set() else self._manager.free

    async def _claim(self, messages: list[Msg]) -> None:
        found = (canonical_uuid(message.data.decode(errors="replace")) for message in messages)
        ids = list(dict.fromkeys(execution_id for execution_id in found if execution_id))
        try:
            async with self._claiming:
                # What is queued gets its turn by the refill; what goes on (it was parked, or released) is still taken from here.
                is_behind = self._behind.is_set()
                fitting = ids[: self._manager.free]
                if fitting:
                    await hook("claim.before")
                    claims = await self._claims.claim(fitting, with_queued=not is_behind)
                    await hook("claim.after")
                    await self._keeper.accept(claims)
                    if not is_behind and len(claims) < len(ids):
                        self._fall_behind()
        except Exception as error:  # noqa: BLE001,RUF100 - not acknowledged: they come again, if the sweep is not faster
            failed("claim", error)
            return
        await hook("ack.before")
        for message in messages:
            try:
                await message.ack()
            except _BUS_AWAY:
                return

    async def _refill(self) -> float:
        """Claims for all free slots. Returns how long to wait before the next time."""
        async with self._claiming:
            free = self._manager.free
            if free <= 0:
                return REFILL_S
            claims = await self._claims.claim_next(free)
            await self._keeper.accept(claims)
        if len(claims) < free and not await self._claims.is_any_queued(QUEUED_FOR_S):
            self._behind.clear()
        return REFILL_S if claims else _IDLE_REFILL_S

    async def _sweep(self) -> None:
        await self._judge.judge([execution_id for execution_id, _ in self._manager.held])
        async with self._claiming:
            if (free := self._manager.free) > 0:
                await self._keeper.accept(await self._claims.claim_lost(free))
            # While behind, the refill shares what is free between these and what is queued.
            if (free := self._manager.free) > 0 and not self._behind.is_set():
                await self._keeper.accept(await self._claims.claim_due(free))
        if not self._behind.is_set() and await self._claims.is_any_queued(QUEUED_FOR_S):
            self._fall_behind()

    def _fall_behind(self) -> None:
        self._behind.set()
        # The pull waits for this to ask for messages again.
        self._manager.slot_freed.set()
