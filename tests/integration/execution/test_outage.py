"""PostgreSQL and NATS that go away in the middle of runs, and what callers and runs see of it."""

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from pydantic import SecretStr
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh.errors import UnavailableError
from mesh.host import find_services, hosted
from mesh.local import nats, postgres
from mesh.local.ports import free_port
from mesh.local.program import Program, running
from mesh.migrate import migrate
from mesh.settings import Settings
from tests.integration.execution.api import SERVICES, Api
from tests.integration.execution.conftest import Lab, lab_on
from tests.integration.execution.graphs import PAUSE, TOUCH, chain
from tests.integration.execution.test_crash import check
from tests.integration.execution.touch import Touches

# How long servers stay away; longer ones by TREADLE_OUTAGE_SECONDS.
AWAY_S = float(os.environ.get("TREADLE_OUTAGE_SECONDS", "3"))


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

    def __init__(self, lab: Lab, postgres: Server, nats: Server, home: Path) -> None:
        self.lab, self.postgres, self.nats, self.home = lab, postgres, nats, home


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
        await migrate(own, [point.load() for point in entry_points(group="treadle.services") if find_spec(point.module)])
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
        await asyncio.to_thread(shutil.rmtree, frail.home / "nats" / "store", ignore_errors=True)
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


async def health_of(channel: grpc.aio.Channel, service: str) -> int:
    """What the process says of a service."""
    status: int = (await HealthStub(channel).Check(HealthCheckRequest(service=service))).status
    return status


async def test_callers_and_health_are_told_that_the_database_is_away(frail: Frail) -> None:
    lab = frail.lab
    async with (
        hosted(find_services(SERVICES), lab.settings) as host,
        grpc.aio.insecure_channel(host.grpc_address) as channel,
        lab.worker() as worker,
    ):
        person = await Api(channel, host.http_address).person()
        graph_id = await person.save(chain(20))
        before = [(await person.create(graph_id, X="1")).id for _ in range(10)]
        await frail.postgres.stop()
        service = "treadle.execution.v1.ExecutionService"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await person.create(graph_id, X="1")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        status = Status.FromString(dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"])  # type: ignore[arg-type,index]
        assert any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)
        await lab.until(lambda: health_of(channel, service), lambda found: found == HealthCheckResponse.NOT_SERVING)
        await lab.until(lambda: asyncio.sleep(0, worker.is_healthy), lambda is_healthy: not is_healthy)
        await asyncio.sleep(AWAY_S)
        await frail.postgres.start()
        await lab.until(lambda: health_of(channel, service), lambda found: found == HealthCheckResponse.SERVING)
        after = (await person.create(graph_id, X="1")).id
        for execution_id in (*before, after):
            events = await person.watch(execution_id)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert events[-1].kind == pb.EVENT_KIND_EXECUTION_COMPLETED
        await lab.until(lambda: asyncio.sleep(0, worker.is_healthy), bool)


async def test_effects_at_work_survive_an_outage_of_the_database(frail: Frail, touches: Touches) -> None:
    lab = frail.lab
    graph_id = await lab.graph(chain(1, TOUCH, seconds=AWAY_S / 2))
    # Leases run out long before the database is back; whoever comes back first must not take the runs of those who live.
    async with lab.worker(), lab.worker():
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(10)]
        await lab.until(touches.some, lambda _: len(touches.firings()) == len(ids))
        await frail.postgres.stop()
        await asyncio.sleep(AWAY_S)
        await frail.postgres.start()
        for execution_id in ids:
            assert not await check(lab, execution_id, 3), "a run was taken from a worker that lives"
    assert len(touches.firings()) == len(ids)


def pause_database(home: Path) -> list[int]:
    """Stops all processes of a database server where they are. Returns their pids."""
    postmaster = psutil.Process(int(next(home.rglob("postmaster.pid")).read_text().split()[0]))
    pids = [process.pid for process in (postmaster, *postmaster.children())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


@pytest.mark.timeout(90)
@pytest.mark.parametrize("paused_s", [4.0, 10.0])
async def test_no_live_worker_loses_a_run_while_the_database_stands_still(frail: Frail, touches: Touches, paused_s: float) -> None:
    lab = frail.lab
    graph_id = await lab.graph(chain(1, TOUCH, seconds=paused_s + 2))
    async with lab.worker(), lab.worker():
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(20)]
        await lab.until(touches.some, lambda _: len(touches.firings()) == len(ids))
        pids = pause_database(frail.home)
        try:
            await asyncio.sleep(paused_s)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        for execution_id in ids:
            assert not await check(lab, execution_id, 3), "a run was taken from a worker that lives"
    assert len(touches.firings()) == len(ids)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("ahead_s", [0.5, 1.0])
async def test_a_worker_that_starts_in_an_outage_takes_no_run_of_those_that_live(frail: Frail, touches: Touches, ahead_s: float) -> None:
    lab = frail.lab
    graph_id = await lab.graph(chain(1, TOUCH, seconds=AWAY_S + 4))
    async with lab.worker():
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(10)]
        await lab.until(touches.some, lambda _: len(touches.firings()) == len(ids))
        await frail.postgres.stop()
        await asyncio.sleep(AWAY_S)
        async with lab.worker():
            await asyncio.sleep(ahead_s)
            await frail.postgres.start()
            for execution_id in ids:
                assert not await check(lab, execution_id, 3), "a run was taken from a worker that lives"
    assert len(touches.firings()) == len(ids)


async def test_without_the_bus_runs_start_end_and_are_watched(frail: Frail) -> None:
    lab = frail.lab
    graph_id = await lab.graph(chain(5, PAUSE, seconds=0.1))
    async with lab.worker():
        flying = [(await lab.create(graph_id, X=at)).record.id for at in range(5)]
        await frail.nats.stop()
        ids = flying + [(await lab.create(graph_id, X=at)).record.id for at in range(5)]
        watched = await asyncio.gather(*(follow(lab, execution_id) for execution_id in ids))
        await asyncio.sleep(AWAY_S)
        await frail.nats.start()
        watched.append(await follow(lab, (await lab.create(graph_id, X=1)).record.id))
        for seqs in watched:
            assert seqs == list(range(1, len(seqs) + 1))


async def follow(lab: Lab, execution_id: str) -> list[int]:
    """The seqs that a subscriber sees, to the terminal event."""
    return [event.seq async for batch in lab.history.watch(await lab.get(execution_id), 0, lab.notices.bus) for event in batch]
