"""A database, a bus and the parts of the execution service, with workers in this process or in their own."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import grpc.aio
import pytest
import pytest_asyncio

from mesh.clients import Clients
from mesh.host import find_services, hosted
from mesh.identity.service_token import ServiceTokens
from mesh.ids import uuid7
from mesh.resources import Resources
from mesh.settings import Settings
from mesh.streams import ensure_streams
from services.block.sdk import BlockRegistry
from services.execution.cancellation import Cancellation
from services.execution.creation import Accepted, Creation, Wanted, request_hash
from services.execution.history import History
from services.execution.lines import Line, read_row
from services.execution.notices import Notices
from services.execution.publisher import Publisher
from services.execution.repository.executions import ExecutionRepository, Record
from services.execution.repository.signals import Signals
from services.execution.repository.tree import Tree
from services.execution.snapshots import Snapshots
from services.execution.worker.app import Worker
from tests.integration.execution import touch
from tests.integration.execution.api import SERVICES, Api

T = TypeVar("T")
DEADLINE_S = 30.0
ENDED = {"COMPLETED", "FAILED", "TERMINATED"}


class Lab:
    """What a test does with executions. One owner per test."""

    def __init__(self, resources: Resources, pool: asyncpg.Pool) -> None:
        self.owner = uuid7()
        self.resources = resources
        self.settings = resources.settings
        self.pool = pool
        self.repository = ExecutionRepository(pool)
        self.publisher = Publisher()
        self.notices = Notices(self.publisher)
        self.creation = Creation(self.repository)
        self.signals = Signals(pool)
        self.tree = Tree(pool)
        self.history = History(self.repository, Snapshots(self.repository, BlockRegistry.installed()))
        self.cancellation = Cancellation(self.repository, self.tree, self.notices)

    async def graph(self, document: dict[str, Any]) -> str:
        """Keeps a graph for the workers and returns its id."""
        graph_id = uuid7()
        await self.repository.put_snapshot(graph_id, 1, self.owner, json.dumps(document))
        return graph_id

    async def create(self, graph_id: str, *, request_id: str = "", dry_run: bool = False, **inputs: Any) -> Accepted:
        """Creates an execution."""
        text = json.dumps(inputs)
        wanted = Wanted(self.owner, graph_id, 1, text, "{}", dry_run, request_id, request_hash(graph_id, text))
        accepted = await self.creation.create(wanted)
        if accepted.first is not None:
            await self.notices.created(accepted.record, accepted.first)
        return accepted

    async def start(self, document: dict[str, Any], **inputs: Any) -> str:
        """Creates an execution of a new graph and returns its id."""
        return (await self.create(await self.graph(document), **inputs)).record.id

    async def get(self, execution_id: str) -> Record:
        """The execution's row."""
        record = await self.repository.get(execution_id, self.owner)
        assert record is not None
        return record

    async def ended(self, execution_id: str, within_s: float = DEADLINE_S) -> Record:
        """The execution's row once it has ended."""
        return await self.until(lambda: self.get(execution_id), lambda record: record.status in ENDED, within_s)

    async def until(self, look: Callable[[], Awaitable[T]], is_so: Callable[[T], Any], within_s: float = DEADLINE_S) -> T:
        """What `look` finds once `is_so`; fails after the deadline."""
        deadline = time.monotonic() + within_s
        while not is_so(found := await look()):
            assert time.monotonic() < deadline, f"still {found}"
            await asyncio.sleep(0.02)
        return found

    async def journal(self, execution_id: str) -> list[Line]:
        """The events of an execution; fails when their numbers have a gap."""
        rows = await self.pool.fetch("SELECT seq, count, events FROM execution_event WHERE execution_id = $1 ORDER BY seq", execution_id)
        lines: list[Line] = []
        for row in rows:
            assert row["seq"] == len(lines) + 1, "the journal has a gap"
            lines += read_row(row["events"])
            assert len(lines) == row["seq"] + row["count"] - 1
        return lines

    @asynccontextmanager
    async def worker(self, **changes: Any) -> AsyncIterator[Worker]:
        """A worker in this process."""
        resources = Resources(self.settings.model_copy(update=changes), "worker", self.resources.clients)
        database = await resources.database("execution")
        worker = Worker(resources, database.pool)
        worker.start()
        try:
            yield worker
        finally:
            await worker.stop()
            await resources.close()

    @contextmanager
    def worker_process(self, **changes: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A worker as a process of its own; killed at the end if it still runs."""
        settings = self.settings.model_copy(update={"log_format": "json", **changes})
        program = Path(__file__).with_name("worker_process.py")
        with (settings.home / "workers.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, str(program)], env={**os.environ, **settings.environment()}, stdout=log, stderr=log)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@asynccontextmanager
async def lab_on(settings: Settings) -> AsyncIterator[Lab]:
    """The service's parts, without a worker, on the servers of the settings."""
    settings = settings.model_copy(update={"lease_s": 1.5, "heartbeat_s": 0.4, "sweep_s": 0.3, "drain_s": 3.0})
    touch.install()
    async with AsyncExitStack() as stack:
        clients = Clients(settings, "execution", ServiceTokens.from_settings(settings))
        resources = Resources(settings, "execution", clients)
        stack.push_async_callback(resources.close)
        lab = Lab(resources, (await resources.database("execution")).pool)
        bus = await resources.bus()
        await ensure_streams(bus.js)
        lab.notices.attach(bus)
        loops = [asyncio.create_task(lab.creation.run()), asyncio.create_task(lab.publisher.run())]
        try:
            yield lab
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            # Nothing of this test is left for the workers of the next.
            await lab.pool.execute(
                "UPDATE execution SET status = 'TERMINATED', wake_time = NULL, end_time = now(), parent_told = true, letter_due = false"
                " WHERE end_time IS NULL OR status IN ('QUEUED', 'RUNNING', 'REVIEW')"
            )


@pytest_asyncio.fixture
async def lab(migrated: Settings) -> AsyncIterator[Lab]:
    """The service's parts on the servers of all tests."""
    async with lab_on(migrated) as lab:
        yield lab


@pytest.fixture
def touches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> touch.Touches:
    """Where touches of this process and of its workers are counted."""
    path = tmp_path / "touched"
    monkeypatch.setenv(touch.FILE, str(path))
    return touch.Touches(path)


@pytest_asyncio.fixture(scope="module")
async def api(migrated: Settings) -> AsyncIterator[Api]:
    """The services in this process."""
    touch.install()
    async with hosted(find_services(SERVICES), migrated) as host, grpc.aio.insecure_channel(host.grpc_address) as channel:
        yield Api(channel, host.http_address)
