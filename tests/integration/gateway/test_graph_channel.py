"""Following a graph: live events of the caller's own executions of it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from gateway import feeds as module
from gateway.channels import Batches, Channels
from gateway.executions import Executions
from gateway.feeds import TooSlowError
from mesh.bus import Bus
from mesh.call import Caller
from mesh.clients import Clients
from mesh.errors import UnavailableError
from mesh.identity.service_token import ServiceTokens
from mesh.ids import uuid7
from mesh.settings import Settings
from tests.integration.gateway.conftest import Person
from tests.integration.gateway.journal import Journal

Talk = Callable[..., Any]


async def test_events_of_its_executions_come_and_no_others(talk: Talk, journal: Journal, ann: Person, person: Any) -> None:
    graph_id, stranger = uuid7(), person()
    first = journal.start(ann.id, graph_id)
    await journal.append(first, 2)
    socket = await talk(ann)
    channel = f"graph:{graph_id}"
    assert await socket.ask(id="1", method="subscribe", graph_id=graph_id) == {"id": "1", "type": "subscribed", "channel": channel}
    for execution_id in (journal.start(ann.id), journal.start(stranger.id, graph_id)):
        await journal.append(execution_id, 3)
    second = journal.start(ann.id, graph_id)
    await journal.append(first, 1)
    await journal.append(second, 2, is_last=True)
    await journal.append(first, 1, is_last=True)
    heard = [(event["execution_id"], event["seq"]) for event in await socket.events(4)]
    assert heard == [(first, 3), (second, 1), (second, 2), (first, 4)]
    await socket.say(id="2", method="unsubscribe", channel=channel)
    assert (await socket.hear())["type"] == "unsubscribed"


async def test_a_graph_of_somebody_else_does_not_exist(talk: Talk, journal: Journal, ann: Person, person: Any) -> None:
    graph_id = uuid7()
    journal.start(person().id, graph_id)
    socket = await talk(ann)
    for foreign in (graph_id, uuid7()):
        frame = await socket.ask(id="1", method="subscribe", graph_id=foreign)
        assert frame["error"]["code"] == 5
        assert frame["error"]["details"][0]["reason"] == "GRAPH_NOT_FOUND"


async def test_a_reader_far_behind_is_told_so_after_what_was_kept(
    bus: Bus, journal: Journal, ann: Person, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BEHIND", 3)
    clients = Clients(settings, "gateway", ServiceTokens.from_settings(settings))
    channels = Channels(Executions(clients))
    graph_id = uuid7()
    with pytest.raises(UnavailableError):
        await anext(channels.graph(Caller(ann.id), graph_id))
    channels.attach(bus.nc)
    heard: list[int] = []
    async with aclosing(channels.graph(Caller(ann.id), graph_id)) as batches:
        assert await anext(batches) == []
        execution_id = journal.start(ann.id, graph_id)
        for _ in range(5):
            await journal.append(execution_id, 1)
        await bus.nc.flush()
        with pytest.raises(TooSlowError):
            await _drain(batches, heard)
    assert heard == [1, 2, 3]


async def test_all_sockets_of_a_user_listen_to_the_bus_once(
    bus: Bus, journal: Journal, ann: Person, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects: list[str] = []
    subscribe = bus.nc.subscribe

    async def counted(subject: str, **options: Any) -> Any:
        subjects.append(subject)
        return await subscribe(subject, **options)

    monkeypatch.setattr(bus.nc, "subscribe", counted)
    channels = Channels(Executions(Clients(settings, "gateway", ServiceTokens.from_settings(settings))))
    channels.attach(bus.nc)
    graph_ids = [uuid7(), uuid7()]
    runs = [journal.start(ann.id, graph_id) for graph_id in graph_ids]
    for round_no in (1, 2):
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(aclosing(channels.graph(Caller(ann.id), graph_ids[at % 2]))) for at in range(6)]
            # At the same time, as when all sockets come back.
            assert await asyncio.gather(*(anext(batches) for batches in opened)) == [[]] * 6
            await opened.pop().aclose()
            for run in runs:
                await journal.append(run, 1)
            async with asyncio.timeout(5):
                assert [[event.seq for event in await anext(batches)] for batches in opened] == [[round_no]] * 5
        assert len(subjects) == round_no


async def _drain(batches: Batches, heard: list[int]) -> None:
    async for batch in batches:
        heard += [event.seq for event in batch]
