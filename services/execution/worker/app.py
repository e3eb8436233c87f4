"""Assembly of the worker."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from mesh.bus import Bus
from mesh.ids import uuid7
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.service import Running, Service
from services.block.sdk import BlockRegistry
from services.execution.publisher import Publisher
from services.execution.repository import ExecutionRepository
from services.execution.snapshots import Snapshots
from services.execution.worker.dispatcher import Dispatcher
from services.execution.worker.executor import NodeExecutor
from services.execution.worker.journal import Journal
from services.execution.worker.leases import Leases
from services.execution.worker.manager import ExecutionManager

_log = get_logger("execution.worker")

# The schema is the execution service's: the worker is its other half, and the only one that shares it.
SCHEMA = "execution"


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Runs a worker; at the end it hands its runs over to the others."""
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
        self._journal = Journal(pool, settings.lease_s)
        repository = ExecutionRepository(pool)
        snapshots = Snapshots(repository, BlockRegistry.installed())
        self._manager = ExecutionManager(
            repository=repository,
            snapshots=snapshots,
            journal=self._journal,
            executor=NodeExecutor(settings),
            publisher=self._publisher,
            settings=settings,
        )
        self._dispatcher = Dispatcher(self._manager, Leases(pool, self.id, settings.lease_s), settings)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def is_healthy(self) -> bool:
        """True while every loop runs and the leases are being renewed."""
        return self._dispatcher.is_healthy and not any(task.done() for task in self._tasks.values())

    def start(self) -> None:
        """Starts the loops. Needs neither database nor bus to be up."""
        loops = {
            "journal": self._journal.run(),
            "publisher": self._publisher.run(),
            "claims": self._dispatcher.run_claims(),
            "heartbeats": self._dispatcher.run_heartbeats(),
            "sweeps": self._dispatcher.run_sweeps(),
            "bus": self._run_bus(),
        }
        for name, loop in loops.items():
            self._tasks[name] = asyncio.create_task(loop, name=f"worker {name}")
            self._tasks[name].add_done_callback(_report)

    async def stop(self) -> None:
        """Takes nothing new, hands the runs over, and ends."""
        await self._dispatcher.finish_claims()
        await self._end("bus", "sweeps", "claims")
        leases = await self._manager.stop(self._resources.settings.drain_s)
        if leases:
            await self._dispatcher.release(leases, self._bus)
        await self._publisher.flush()
        await self._end("heartbeats", "journal", "publisher")

    async def _run_bus(self) -> None:
        self._bus = await self._resources.bus()
        self._publisher.attach(self._bus)
        await self._dispatcher.run_bus(self._bus)

    async def _end(self, *names: str) -> None:
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("worker_loop_broke", loop=task.get_name(), exc_info=error)


SERVICE = Service(name="worker", build=build, needs=("postgres", "nats"))
