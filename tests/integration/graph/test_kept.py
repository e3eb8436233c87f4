"""Graphs that are kept between calls are those that are there, for those whose they are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from treadle.graph.v1 import graph_service_pb2 as pb

from mesh.host import Host, find_services, hosted
from mesh.settings import Settings
from tests.integration.graph.conftest import Graphs, User

# The news take a millisecond; this is less than what would end by itself.
PATIENCE_S = 3.0


@pytest_asyncio.fixture(scope="module")
async def other_host(migrated: Settings) -> AsyncIterator[Host]:
    """A second process with the same services."""
    async with hosted(find_services(["auth", "user", "block", "graph"]), migrated) as running:
        yield running


@pytest_asyncio.fixture
async def elsewhere(other_host: Host, user: User) -> AsyncIterator[Graphs]:
    async with grpc.aio.insecure_channel(other_host.grpc_address) as channel:
        yield Graphs(channel, user.token)


async def made(user: User, name: str = "first") -> Any:
    return (await user.graphs("CreateGraph", pb.CreateGraphRequest(graph=pb.Graph(name=name)))).graph


async def got(graphs: Graphs, graph_id: str, version: int = 0) -> Any:
    return (await graphs("GetGraph", pb.GetGraphRequest(graph_id=graph_id, version=version))).graph


async def test_a_change_is_seen_by_the_next_read(user: User) -> None:
    graph = await made(user)
    assert (await got(user.graphs, graph.id)).name == "first"
    for name in ("second", "third"):
        await user.graphs("UpdateGraph", pb.UpdateGraphRequest(graph_id=graph.id, graph=pb.Graph(name=name)))
        assert (await got(user.graphs, graph.id)).name == name
        assert (await got(user.graphs, graph.id.upper())).name == name
    await user.graphs("ActivateGraph", pb.ActivateGraphRequest(graph_id=graph.id, version=2))
    assert (await got(user.graphs, graph.id)).name == "second"
    assert (await got(user.graphs, graph.id, 3)).is_active is False


async def test_a_change_is_seen_in_other_processes_within_moments(user: User, elsewhere: Graphs) -> None:
    graph = await made(user)
    assert (await got(elsewhere, graph.id)).name == "first"
    await user.graphs("UpdateGraph", pb.UpdateGraphRequest(graph_id=graph.id, graph=pb.Graph(name="second")))
    await until(lambda: _is_named(elsewhere, graph.id, "second"))


async def test_what_is_deleted_is_gone_everywhere(user: User, elsewhere: Graphs) -> None:
    graph = await made(user)
    for graphs in (user.graphs, elsewhere):
        await got(graphs, graph.id)
    await user.graphs("DeleteGraph", pb.DeleteGraphRequest(graph_id=graph.id.upper()))
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await got(user.graphs, graph.id)
    assert gone.value.code() is grpc.StatusCode.NOT_FOUND
    await until(lambda: _is_gone(elsewhere, graph.id))


async def test_what_is_kept_for_one_is_not_there_for_another(user: User, make_user: Callable[[], Awaitable[User]]) -> None:
    graph, other = await made(user), await make_user()
    await got(user.graphs, graph.id)
    assert await _is_gone(other.graphs, graph.id)
    assert await _is_named(user.graphs, graph.id, "first")


async def test_a_read_that_is_kept_asks_no_database_and_makes_no_answer(host: Host, user: User) -> None:
    graph = await made(user)
    headers = {"authorization": f"Bearer {user.token}"}
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", headers=headers, timeout=20) as client:
        await client.get(f"/v1/graphs/{graph.id}")
        before = _lookups(host)
        answers = [await client.get(f"/v1/graphs/{graph.id}") for _ in range(50)]
    after = _lookups(host)
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].json()["name"] == "first"
    for cache in ("graph.heads", "http.answers"):
        assert after[cache, "process"] - before[cache, "process"] == 50
        assert after[cache, "source"] == before[cache, "source"]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)


async def _is_named(graphs: Graphs, graph_id: str, name: str) -> bool:
    return bool((await got(graphs, graph_id)).name == name)


async def _is_gone(graphs: Graphs, graph_id: str) -> bool:
    try:
        await got(graphs, graph_id)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.NOT_FOUND
    return False


def _lookups(host: Host) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for line in host.metrics.text().decode().splitlines():
        if line.startswith("treadle_cache_lookups_total{"):
            labels, value = line.removeprefix("treadle_cache_lookups_total{").split("} ")
            parts = dict(part.split("=") for part in labels.split(","))
            found[parts["cache"].strip('"'), parts["layer"].strip('"')] = float(value)
    return found
