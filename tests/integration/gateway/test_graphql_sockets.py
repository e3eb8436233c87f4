"""Sockets of GraphQL under clients that do not keep to the rules, or do not keep up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from gateway import socket as module
from gateway.channels import Channels
from gateway.events import EventText
from gateway.graphql import endpoint, sockets
from mesh.ids import uuid7
from tests.integration.gateway.conftest import MAX_SOCKETS, Person
from tests.integration.gateway.journal import Journal
from tests.integration.gateway.test_graphql import Client, dial  # noqa: F401 - a fixture

Dial = Callable[..., Any]
Talk = Callable[..., Any]


@pytest.mark.parametrize(
    "frame",
    [
        "5",
        "null",
        "[]",
        "{",
        "[" * 30_000,
        b"\x00",
        '{"type":"other"}',
        '{"type":"connection_init"}',
        '{"type":"subscribe","id":[],"payload":{"query":""}}',
        '{"type":"subscribe","id":"1","payload":5}',
        '{"type":"complete","id":{}}',
    ],
)
async def test_what_is_no_frame_ends_the_socket_and_says_so(
    ann: Person,
    dial: Dial,  # noqa: F811 - a fixture
    frame: str | bytes,
) -> None:
    client = await dial(ann)
    await client.start()
    await client.connection.send(frame)
    assert await client.closed() in {4400, 4429}
    assert client.connection.close_reason


async def test_a_wrong_request_leaves_the_others_on_the_socket(ann: Person, journal: Journal, dial: Dial) -> None:  # noqa: F811 - a fixture
    execution_id = journal.start(ann.id)
    client = await dial(ann)
    await client.start()
    await client.watch(execution_id, id="good")
    for query in ("{ " + "}" * 300, "{ nothing }", "{ ...F } fragment F on Query { ...F }"):
        await client.say(type="subscribe", id="bad", payload={"query": query})
        refused = await client.hear()
        assert (refused["id"], refused["type"]) == ("bad", "error")
        assert refused["payload"][0]["extensions"]["details"][0]["reason"] == "GRAPHQL_INVALID"
    await journal.append(execution_id, 1)
    heard = await client.hear()
    assert (heard["id"], heard["payload"]["data"]["watchExecution"]["seq"]) == ("good", 1)


async def test_a_socket_has_so_many_operations(
    ann: Person,
    journal: Journal,
    dial: Dial,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "MAX_OPERATIONS", 2)
    execution_id = journal.start(ann.id)
    client = await dial(ann)
    await client.start()
    for number in range(1, 4):
        await client.watch(execution_id, id=str(number))
    refused = await client.hear()
    assert (refused["id"], refused["type"]) == ("3", "error")
    assert refused["payload"][0]["extensions"]["code"] == 8
    assert refused["payload"][0]["extensions"]["details"][0]["reason"] == "TOO_MANY_OPERATIONS"
    await client.say(type="complete", id="1")
    await client.watch(execution_id, id="3")
    await journal.append(execution_id, 1)
    assert {(await client.hear())["id"] for _ in range(2)} == {"2", "3"}


async def test_an_operation_that_does_not_heed_its_end_is_not_heard_of_again(
    ann: Person,
    journal: Journal,
    dial: Dial,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "LEAVE_S", 0.05)
    goes_on = asyncio.Event()

    async def deaf(*_: Any) -> AsyncIterator[list[EventText]]:
        while not goes_on.is_set():
            with suppress(asyncio.CancelledError):
                await goes_on.wait()
        yield [EventText(1, False, '{"seq":1,"kind":"EVENT_KIND_NODE_OUTPUT"}')]

    execution_id = journal.start(ann.id)
    client = await dial(ann)
    await client.start()
    with monkeypatch.context() as patch:
        patch.setattr(Channels, "execution", deaf)
        await client.watch(execution_id, id="same")
        await client.say(type="subscribe", id="me", payload={"query": "{ __typename }"})
        assert [(await client.hear())["id"] for _ in range(2)] == ["me", "me"]
        await client.say(type="complete", id="same")
        await client.say(type="ping")
        assert (await client.hear())["type"] == "pong"
    goes_on.set()
    await client.watch(execution_id, id="same")
    await journal.append(execution_id, 2, is_last=True)
    assert await client.seqs(2) == [1, 2]
    assert await client.hear() == {"id": "same", "type": "complete"}


async def test_a_reader_that_stalls_is_closed_4008_and_comes_back(
    ann: Person,
    journal: Journal,
    dial: Dial,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "STALL_S", 0.5)
    is_closing = asyncio.Event()

    async def close(*args: Any) -> None:
        is_closing.set()
        await module_close(*args)

    module_close = module.close
    monkeypatch.setattr(endpoint, "close", close)
    execution_id, total = journal.start(ann.id), 400
    await journal.append(execution_id, total, is_last=True, is_published=False, value='"' + "x" * 50_000 + '"')
    stalled = await dial(ann, max_queue=1)
    await stalled.start()
    await stalled.watch(execution_id)
    async with asyncio.timeout(10):
        await is_closing.wait()
    heard: list[int] = []
    with suppress(ConnectionClosedError):
        while frame := await stalled.hear():
            # No end of the subscription: that would mean that all is told.
            assert frame["type"] == "next"
            heard.append(frame["payload"]["data"]["watchExecution"]["seq"])
    assert stalled.connection.close_code == 4008
    assert heard == list(range(1, len(heard) + 1))
    assert len(heard) < total
    back = await dial(ann)
    await back.start()
    await back.watch(execution_id, after=len(heard))
    assert await back.seqs(total - len(heard)) == list(range(len(heard) + 1, total + 1))


async def test_both_sockets_tell_the_same_after_any_seq(ann: Person, journal: Journal, dial: Dial, talk: Talk) -> None:  # noqa: F811
    execution_id, total = journal.start(ann.id), 6
    await journal.append(execution_id, total, is_last=True, value='{"big":12345678901234567890,"text":"\\u00fc"}')
    for after in (0, 3, total, total + 5):
        client, socket = await dial(ann), await talk(ann)
        await client.start()
        await client.watch(execution_id, after=after)
        await socket.ask(id="1", method="subscribe", execution_id=execution_id, after_seq=after)
        left = max(0, total - after)
        told = [(await client.hear())["payload"]["data"]["watchExecution"] for _ in range(left)]
        assert [{name: event.get(name) for name in ("seq", "kind", "value")} for event in await socket.events(left)] == told
        assert (await client.hear())["type"] == "complete"
        assert (await socket.hear())["type"] == "ended"


async def test_a_subscription_that_fails_on_its_way_says_why_and_no_more(
    ann: Person,
    journal: Journal,
    dial: Dial,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: Any) -> AsyncIterator[list[EventText]]:
        yield [EventText(1, False, '{"seq":1,"kind":"EVENT_KIND_NODE_OUTPUT","value":null}')]
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(Channels, "execution", broken)
    client = await dial(ann)
    await client.start()
    await client.watch(journal.start(ann.id))
    assert await client.seqs(1) == [1]
    failed = await client.hear()
    assert failed["payload"]["errors"][0]["extensions"]["code"] == 13
    assert "hunter2" not in orjson.dumps(failed).decode()
    assert (await client.hear())["type"] == "complete"


async def test_a_token_that_ends_ends_what_runs_on_its_socket(
    person: Callable[..., Person],
    journal: Journal,
    dial: Dial,  # noqa: F811 - a fixture
) -> None:
    somebody = person(ttl_s=2)
    execution_id = journal.start(somebody.id)
    client = await dial(somebody)
    await client.start()
    await client.watch(execution_id)
    await journal.append(execution_id, 1)
    assert await client.seqs(1) == [1]
    with pytest.raises(ConnectionClosed):
        await client.hear()
    assert client.connection.close_code == 4401


async def test_who_does_not_say_who_they_are_takes_one_of_few_places(
    ann: Person,
    dial: Dial,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strangers = [await dial() for _ in range(MAX_SOCKETS)]
    late = await dial()
    assert await late.closed() == 1013
    for stranger in strangers:
        await stranger.say(type="subscribe", id="1", payload={"query": "{ me { id } }"})
    assert {await stranger.closed() for stranger in strangers} == {4401}
    await (await _once_there_is_room(dial, ann)).start()


async def test_a_subscription_to_what_is_not_ones_own_is_refused(
    ann: Person,
    person: Callable[..., Person],
    journal: Journal,
    dial: Dial,  # noqa: F811 - a fixture
) -> None:
    theirs = journal.start(person().id)
    client = await dial(ann)
    await client.start()
    for execution_id in (theirs, uuid7(), ">", "*"):
        await client.watch(execution_id)
        refused = await client.hear()
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["details"][0]["reason"] == "EXECUTION_NOT_FOUND"
    await journal.append(theirs, 1)
    await client.say(type="ping")
    assert (await client.hear())["type"] == "pong"


async def _once_there_is_room(dial: Dial, somebody: Person) -> Client:  # noqa: F811 - a fixture
    async with asyncio.timeout(10):
        while True:
            client: Client = await dial(somebody)
            await client.say(type="ping")
            with suppress(ConnectionClosed):
                assert (await client.hear())["type"] == "pong"
                return client
