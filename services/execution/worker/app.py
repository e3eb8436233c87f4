"""Assembly of the worker."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import nats.errors

from mesh.bus import Bus
from mesh.ids import uuid7
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.service import Running, Service
from mesh.settings import Settings
from mesh.tasks import end
from services.block.sdk import BlockRegistry
from services.execution.errors import DATABASE_AWAY
from services.execution.hooks import arm_plan
from services.execution.notices import Notices
from services.execution.publisher import Publisher
from services.execution.repository import ExecutionRepository
from services.execution.signals import Signals
from services.execution.snapshots import Snapshots
from services.execution.tree import Tree
from services.execution.worker.aftermath import Aftermath
from services.execution.worker.children import Children
from services.execution.worker.claims import Claims, OwnerLimits
from services.execution.worker.dispatcher import Dispatcher
from services.execution.worker.executor import NodeExecutor
from services.execution.worker.journal import Journal
from services.execution.worker.leases import Leases
from services.execution.worker.letters import Letters
from services.execution.worker.liveness import Liveness
from services.execution.worker.manager import ExecutionManager
from services.execution.worker.quarantine import Quarantine
from services.execution.worker.replay import Replay
from services.execution.worker.rounds import Rounds
from services.execution.worker.suspects import Suspects
from services.execution.worker.tools import Tools

_log = get_logger("execution.worker")

# The schema is the execution service's: the worker is its other half, and the only one that shares it.
SCHEMA = "execution"
# How often what a lost worker left to do after its commits is looked for.
_AFTERMATH_S = 1.0


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Runs a worker; at the end it hands its runs over to the others."""
    arm_plan(resources.settings.test_hooks)
    worker = Worker(resources, (await resources.database(SCHEMA)).pool)
    worker.start()
    try:
        yield Running(is_healthy=lambda: worker.is_healthy)
    finally:
        await worker.stop()


class Worker:
    """The parts of a worker and the tasks that drive them."""

    def __init__(self, resources: Resources, pool: asyncpg.Pool) -> None:
        settings = resources.settings
        # Unique for each start of the process: people see it in the rows, the fence is the epoch.
        self.id = f"{settings.instance or socket.gethostname()}-{os.getpid()}-{uuid7()[-12:]}"
        self._resources = resources
        self._bus: Bus | None = None
        self._publisher = Publisher()
        self._notices = Notices(self._publisher)
        claims = Claims(pool, self.id, settings.lease_s, _limits(settings))
        self._aftermath = Aftermath(Tree(pool), Letters(pool), claims, self._notices)
        self._journal = Journal(pool, settings.lease_s, on_last=self._aftermath.add)
        repository = ExecutionRepository(pool)
        snapshots = Snapshots(repository, BlockRegistry.installed())
        tools = Tools(
            settings=settings,
            executor=NodeExecutor(settings),
            answers=Signals(pool),
            children=Children(pool, snapshots, self._notices, settings),
            tracer=resources.tracer,
        )
        resources.metrics.registry.register(tools.meters)
        self._manager = ExecutionManager(
            replay=Replay(repository),
            snapshots=snapshots,
            journal=self._journal,
            publisher=self._publisher,
            tools=tools,
        )
        quarantine = Quarantine(pool, self._publisher, settings.lease_s)
        self._rounds = Rounds()
        self._dispatcher = Dispatcher(
            manager=self._manager,
            claims=claims,
            suspects=Suspects(pool, self.id, settings.lease_s),
            leases=Leases(pool, settings.lease_s),
            quarantine=quarantine,
            rounds=self._rounds,
            settings=settings,
        )
        self._liveness = Liveness(settings.database_url.get_secret_value(), self.id, self._dispatcher.database_was_away)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def is_healthy(self) -> bool:
        """True while every loop runs and comes round, and others can see that this worker lives."""
        return self._rounds.are_well and self._liveness.held.is_set() and not any(task.done() for task in self._tasks.values())

    def start(self) -> None:
        """Starts the loops. Needs neither database nor bus to be up."""
        loops = {
            "life": self._liveness.run(),
            "journal": self._journal.run(),
            "aftermath": self._aftermath.run(),
            "aftermath sweeps": self._run_aftermath_sweeps(),
            "publisher": self._publisher.run(),
            "claims": self._dispatcher.run_claims(),
            "heartbeats": self._dispatcher.run_heartbeats(),
            "sweeps": self._when_alive(self._dispatcher.run_sweeps),
            "refills": self._when_alive(self._dispatcher.run_refills),
            "bus": self._run_bus(),
        }
        for name, loop in loops.items():
            self._tasks[name] = asyncio.create_task(loop, name=f"worker {name}")
            self._tasks[name].add_done_callback(_report)

    async def stop(self) -> None:
        """Takes nothing new, hands the runs over, and ends."""
        await self._dispatcher.finish_claims()
        await self._end("bus", "sweeps", "refills", "claims")
        leases = await self._manager.stop(self._resources.settings.drain_s)
        if leases:
            await self._dispatcher.release(leases, self._bus)
        await self._publisher.flush()
        await self._end("heartbeats", "journal", "publisher", "aftermath", "aftermath sweeps", "life")

    async def _run_bus(self) -> None:
        self._bus = bus = await self._resources.bus()
        self._notices.attach(self._bus)
        await self._when_alive(lambda: self._dispatcher.run_bus(bus))

    async def _when_alive(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Takes no execution before others can see that this worker lives."""
        await self._liveness.held.wait()
        await loop()

    async def _run_aftermath_sweeps(self) -> None:
        self._rounds.done("aftermath sweeps")
        while True:
            await asyncio.sleep(_AFTERMATH_S)
            try:
                await self._aftermath.sweep()
                self._rounds.done("aftermath sweeps", _AFTERMATH_S)
            except (*DATABASE_AWAY, nats.errors.Error) as error:
                _log.warning("aftermath_waits", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001,RUF100 - the next time may do better
                _log.error("aftermath_failed", exc_info=error)

    async def _end(self, *names: str) -> None:
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        await end(*tasks)


def _limits(settings: Settings) -> OwnerLimits:
    """An eighth of the slots is kept for owners who have little at work here."""
    slots = settings.worker_slots
    return OwnerLimits(settings.max_running_per_user, max(slots - max(slots // 8, 1), 1))


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("worker_loop_broke", loop=task.get_name(), exc_info=error)


SERVICE = Service(name="worker", build=build, needs=("postgres", "nats"))
