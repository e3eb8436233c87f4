"""Assembly of the execution service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors

from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.retention import forgetting
from mesh.service import Running, Service
from mesh.streams import ensure_streams
from mesh.tasks import end
from services.block.sdk import BlockRegistry
from services.execution.cancellation import Cancellation
from services.execution.creation import Creation
from services.execution.explanations import Explanations
from services.execution.firings import Firings
from services.execution.graphs import Graphs
from services.execution.history import History
from services.execution.live import LiveRuns
from services.execution.notices import Notices
from services.execution.personal_data import ExecutionData
from services.execution.publisher import Publisher
from services.execution.repository.erasure import Erasure
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.reviews import ReviewRepository
from services.execution.repository.tree import Tree
from services.execution.reviews import Reviews
from services.execution.servicer import ExecutionServicer
from services.execution.snapshots import Snapshots
from services.execution.wait_reasons import WaitReasons

SCHEMA = "execution"
_RETRY_S = 1.0

_log = get_logger("execution.app")


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves ExecutionService. Needs neither database nor bus to be up."""
    pool = (await resources.database(SCHEMA)).pool
    repository, tree, erasure = ExecutionRepository(pool), Tree(pool), Erasure(pool)
    registry = BlockRegistry.installed()
    snapshots = Snapshots(repository, registry)
    creation = Creation(repository)
    publisher = Publisher()
    live = LiveRuns()
    notices = Notices(publisher, live)
    history = History(repository, snapshots, live)
    servicer = ExecutionServicer(
        repository=repository,
        graphs=Graphs(resources.clients, repository, registry),
        creation=creation,
        history=history,
        live=live,
        firings=Firings(repository, snapshots, max_parallel_nodes=resources.settings.max_parallel_nodes),
        reviews=Reviews(repository, ReviewRepository(pool), snapshots, notices),
        explanations=Explanations(repository, snapshots),
        cancellation=Cancellation(repository, tree, notices),
        wait_reasons=WaitReasons(repository, resources.settings.max_running_per_user),
        notices=notices,
    )

    async def attach_bus() -> None:
        bus = await resources.bus()
        notices.attach(bus)
        while True:
            try:
                return await ensure_streams(bus.js)
            except (OSError, nats.errors.Error) as error:
                _log.warning("streams_wait_for_bus", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    loops = [asyncio.create_task(creation.run()), asyncio.create_task(publisher.run())]
    attaching = asyncio.create_task(attach_bus())
    try:
        async with forgetting("executions", resources.settings.retention_executions_days, erasure.delete_before):
            yield Running(
                servicers={"treadle.execution.v1.ExecutionService": servicer},
                is_healthy=lambda: not any(task.done() for task in loops),
                personal_data=ExecutionData(repository, history, erasure, tree, notices),
            )
    finally:
        await publisher.flush()
        await end(*loops, attaching)


SERVICE = Service(name="execution", build=build, migrations="services.execution.migrations", needs=("postgres", "nats"))
