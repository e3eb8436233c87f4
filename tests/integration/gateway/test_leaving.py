"""Leaving a channel: at any moment, answered at once, and the channel is free again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway import socket as module
from gateway.channels import Channels
from gateway.events import EventText
from tests.integration.gateway.conftest import Conversation, Person
from tests.integration.gateway.journal import Journal

Talk = Callable[..., Any]


async def frames_until_pong(socket: Conversation) -> list[tuple[str, str]]:
    """The types and ids of the frames before the answer to a ping, which is sent now; events left out."""
    await socket.say(id="ping", method="ping")
    heard: list[tuple[str, str]] = []
    while (frame := await socket.hear())["type"] != "pong":
        if frame["type"] != "event":
            heard.append((frame["type"], frame.get("id", "")))
    return heard


@pytest.mark.parametrize("kind", ["execution", "graph"])
async def test_a_channel_that_is_left_before_it_began_is_free_again(talk: Talk, journal: Journal, ann: Person, kind: str) -> None:
    execution_id = journal.start(ann.id)
    await journal.append(execution_id, 2)
    wanted = execution_id if kind == "execution" else journal.graph_of(execution_id)
    socket = await talk(ann)
    # Neither answer is waited for.
    for _ in range(module.MAX_SUBSCRIPTIONS + 5):
        await socket.say(id="s", method="subscribe", **{f"{kind}_id": wanted})
        await socket.say(id="u", method="unsubscribe", channel=f"{kind}:{wanted}")
    answered = await frames_until_pong(socket)
    assert answered == [("subscribed", "s"), ("unsubscribed", "u")] * (module.MAX_SUBSCRIPTIONS + 5)
    assert (await socket.ask(id="1", method="subscribe", **{f"{kind}_id": wanted}))["type"] == "subscribed"


async def test_a_channel_can_be_left_while_it_turns_to_the_bus(talk: Talk, journal: Journal, ann: Person) -> None:
    execution_id = journal.start(ann.id)
    channel = f"execution:{execution_id}"
    socket = await talk(ann)
    for pause_s in [0.0, 0.0005, 0.001, 0.0015, 0.002] * 8:
        await socket.ask(id="s", method="subscribe", execution_id=execution_id)
        await asyncio.sleep(pause_s)
        await socket.say(id="u", method="unsubscribe", channel=channel)
        async with asyncio.timeout(2):
            assert await frames_until_pong(socket) == [("unsubscribed", "u")]


async def test_a_channel_that_does_not_heed_its_end_holds_up_nobody(
    talk: Talk, journal: Journal, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVE_S", 0.05)
    told, goes_on = asyncio.Event(), asyncio.Event()

    async def deaf(*_: Any) -> AsyncIterator[list[EventText]]:
        while not goes_on.is_set():
            try:
                await goes_on.wait()
            except asyncio.CancelledError:
                told.set()
        yield [EventText(1, False, '{"seq":1}')]

    monkeypatch.setattr(Channels, "execution", deaf)
    execution_id = journal.start(ann.id)
    socket = await talk(ann)
    await socket.ask(id="s", method="subscribe", execution_id=execution_id)
    await socket.say(id="u", method="unsubscribe", channel=f"execution:{execution_id}")
    async with asyncio.timeout(3):
        assert await frames_until_pong(socket) == [("unsubscribed", "u")]
    assert told.is_set()
    # What it would still say is nobody's any more.
    goes_on.set()
    assert await socket.ask(id="p", method="ping") == {"id": "p", "type": "pong"}
    assert await socket.ask(id="p", method="ping") == {"id": "p", "type": "pong"}
