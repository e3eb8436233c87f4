"""PostgreSQL and NATS that go away in the middle of runs, and what callers and runs see of it."""

import asyncio
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from mesh.errors import UnavailableError
from mesh.local import nats, postgres
from mesh.local.ports import free_port
from mesh.local.program import Program, running
from mesh.migrate import migrate
from mesh.settings import Settings
from tests.integration.execution.conftest import Lab, lab_on
from tests.integration.execution.graphs import PAUSE, chain
from tests.integration.execution.test_crash import check


class Server:
    """A server that a test stops and starts. It stops at once, as in a crash."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._running: AbstractContextManager[object] | None = None

    async def start(self) -> None:
        """Starts it; returns when it is ready."""
        self._running = running(self._program)
        await asyncio.to_thread(self._running.__enter__)

    async def stop(self) -> None:
        """Stops it without letting it finish anything."""
        if self._running is not None:
            await asyncio.to_thread(self._running.__exit__, None, None, None)
            self._running = None


class Frail:
    """A lab on servers of its own."""

    def __init__(self, lab: Lab, postgres: Server, nats: Server, nats_home: Path) -> None:
        self.lab, self.postgres, self.nats, self.nats_home = lab, postgres, nats, nats_home


@pytest_asyncio.fixture
async def frail(settings: Settings, servers_home: Path) -> AsyncIterator[Frail]:
    """Servers that only one test uses."""
    home = servers_home / f"frail-{secrets.token_hex(4)}"
    password, port = secrets.token_hex(16), free_port()
    bus_port = free_port(avoid=[port])
    database = Server(replace(postgres.prepare(home, port, password, home / "postgres.log"), stop_signal=signal.SIGQUIT))
    monitor = free_port(avoid=[port, bus_port])
    bus = Server(replace(nats.prepare(home, bus_port, monitor, password, home / "nats.log"), stop_signal=signal.SIGKILL))
    own = settings.model_copy(
        update={"database_url": SecretStr(postgres.url(port, password)), "nats_url": nats.url(bus_port, password)},
    )
    await database.start()
    await bus.start()
    try:
        await postgres.create_database(port, password)
        await migrate(own, [point.load() for point in entry_points(group="treadle.services") if point.name == "execution"])
        async with lab_on(own) as lab:
            yield Frail(lab, database, bus, home)
            await database.start()
    finally:
        await database.stop()
        await bus.stop()
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


async def under_way(lab: Lab, ids: list[str]) -> None:
    """Waits until the runs have written something."""
    query = "SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND last_seq > 8"
    await lab.until(lambda: lab.pool.fetchval(query, ids), lambda count: count == len(ids))


async def test_runs_go_on_after_the_database_was_away(frail: Frail) -> None:
    lab = frail.lab
    graph_id = await lab.graph(chain(20, PAUSE, seconds=0.1))
    async with lab.worker():
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(20)]
        await under_way(lab, ids)
        await frail.postgres.stop()
        with pytest.raises(UnavailableError) as caught:
            await lab.create(graph_id, X=0)
        assert caught.value.retry_after_s
        await frail.postgres.start()
        for execution_id in ids:
            await check(lab, execution_id, 22)
        assert await frail_outputs(lab, ids) == [f'{{"R":[{at}]}}' for at in range(20)]
        await frail.postgres.stop()


async def frail_outputs(lab: Lab, ids: list[str]) -> list[str]:
    """The outputs of runs."""
    return [(await lab.get(execution_id)).outputs for execution_id in ids]


async def test_a_bus_that_loses_everything_costs_time_only(frail: Frail) -> None:
    lab = frail.lab
    graph_id = await lab.graph(chain(10, PAUSE, seconds=0.1))
    async with lab.worker():
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(10)]
        await under_way(lab, ids)
        await frail.nats.stop()
        await asyncio.to_thread(shutil.rmtree, frail.nats_home / "nats" / "store", ignore_errors=True)
        ids += [(await lab.create(graph_id, X=at)).record.id for at in range(10)]
        watched = [event async for batch in lab.history.watch(await lab.get(ids[-1]), 0, lab.notices.bus) for event in batch]
        assert [event.seq for event in watched] == list(range(1, len(watched) + 1))
        await frail.nats.start()
        for execution_id in ids:
            await check(lab, execution_id, 12)
        # The worker pulls again from the stream that it made anew.
        await lab.until(lambda: asyncio.sleep(0, lab.notices.bus), lambda bus: bus is not None and bus.is_connected)
        await check(lab, (await lab.create(graph_id, X=1)).record.id, 12)
    await frail.postgres.stop()
