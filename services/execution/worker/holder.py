"""The parts that hold runs, and the loops that drive them. A worker is a holder with a dispatcher, which brings it runs; a cell is one that
gets one group of suspects.
"""

import asyncio
from contextlib import suppress
from typing import Protocol

import asyncpg
from opentelemetry.trace import Tracer

from mesh.bus import Bus
from mesh.metrics import Metrics
from mesh.settings import Settings
from services.block.sdk import BlockRegistry
from services.execution.notices import Notices
from services.execution.publisher import Publisher
from services.execution.repository.children import ChildRows
from services.execution.repository.claims import Claims, OwnerLimits
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.leases import Leases
from services.execution.repository.letters import DueLetters
from services.execution.repository.signals import Signals
from services.execution.repository.tree import Tree
from services.execution.snapshots import Snapshots
from services.execution.worker.aftermath import Aftermath
from services.execution.worker.children import Children
from services.execution.worker.executor import NodeExecutor
from services.execution.worker.journal import Journal
from services.execution.worker.keeper import Keeper
from services.execution.worker.letters import Letters
from services.execution.worker.liveness import Liveness
from services.execution.worker.loops import Loops
from services.execution.worker.manager import ExecutionManager
from services.execution.worker.quarantine import Quarantine
from services.execution.worker.replay import Replay
from services.execution.worker.rounds import Rounds
from services.execution.worker.tools import Tools

# What is left to do after the last commits may take this long at the end; the sweeps of others do the rest.
_AFTERMATH_S = 1.0


class Means(Protocol):
    """What a holder gets from its process; `mesh.resources.Resources` is it in a worker."""

    settings: Settings
    metrics: Metrics
    tracer: Tracer

    async def bus(self) -> Bus:
        """The bus, once it is there."""


class Holder:
    """Runs under one worker id: their manager, journal and publisher, their leases, and the sign of life of this process."""

    def __init__(self, means: Means, pool: asyncpg.Pool, worker_id: str) -> None:
        settings = means.settings
        self.id = worker_id
        self.bus: Bus | None = None
        self.loops = Loops()
        self.rounds = Rounds()
        self.leases = Leases(pool, settings.lease_s)
        self.claims = Claims(pool, worker_id, settings.lease_s, _limits(settings))
        self.liveness = Liveness(settings.database_url.get_secret_value(), worker_id)
        self._means = means
        self._publisher = Publisher()
        notices = self._notices = Notices(self._publisher)
        self.aftermath = Aftermath(Tree(pool), Letters(DueLetters(pool)), self.claims, notices)
        self._journal = Journal(pool, settings.lease_s, on_last=self.aftermath.add, rounds=self.rounds)
        repository = ExecutionRepository(pool)
        snapshots = Snapshots(repository, BlockRegistry.installed())
        tools = Tools(
            settings=settings,
            executor=NodeExecutor(settings),
            answers=Signals(pool),
            children=Children(ChildRows(pool), snapshots, notices, settings),
            tracer=means.tracer,
        )
        means.metrics.registry.register(tools.meters)
        self.manager = ExecutionManager(
            replay=Replay(repository),
            snapshots=snapshots,
            journal=self._journal,
            publisher=self._publisher,
            tools=tools,
        )
        quarantine = Quarantine(pool, self._publisher, settings.lease_s)
        self.keeper = Keeper(self.manager, self.leases, quarantine, self.rounds, settings)

    @property
    def is_healthy(self) -> bool:
        """True while every loop runs and comes round, and others can see that this process lives."""
        return self.rounds.are_well and self.liveness.held.is_set() and self.loops.are_running

    def start(self) -> None:
        """Starts the loops. Needs neither database nor bus to be up."""
        self.loops.start(
            {
                "life": self.liveness.run(),
                "journal": self._journal.run(),
                "aftermath": self.aftermath.run(),
                "publisher": self._publisher.run(),
                "heartbeats": self.keeper.run_heartbeats(),
                "control": self._run_control(),
            }
        )

    async def stop(self) -> None:
        """Hands the runs over and ends. Nothing may be accepted any more."""
        leases = await self.manager.stop(self._means.settings.drain_s)
        if leases:
            await self.keeper.release(leases, self.bus)
        with suppress(TimeoutError):
            async with asyncio.timeout(_AFTERMATH_S):
                await self.aftermath.drain()
        await self._publisher.flush()
        await self.loops.end()

    async def _run_control(self) -> None:
        self.bus = await self._means.bus()
        self._notices.attach(self.bus)
        await self.keeper.listen(self.bus)


def _limits(settings: Settings) -> OwnerLimits:
    """An eighth of the slots is kept for owners who have little at work here."""
    slots = settings.worker_slots
    return OwnerLimits(settings.max_running_per_user, max(slots - max(slots // 8, 1), 1))
