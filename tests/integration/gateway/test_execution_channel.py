"""Following one execution: gapless, ordered, from any point, whatever the bus does."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.integration.gateway.conftest import Person
from tests.integration.gateway.journal import Journal

Talk = Callable[..., Any]


def _seqs(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def test_replay_then_live_then_the_end(talk: Talk, journal: Journal, ann: Person) -> None:
    execution_id = journal.start(ann.id)
    await journal.append(execution_id, 3)
    socket = await talk(ann)
    answer = await socket.ask(id="1", method="subscribe", execution_id=execution_id)
    channel = f"execution:{execution_id}"
    assert answer == {"id": "1", "type": "subscribed", "channel": channel, "last_seq": 3}
    assert _seqs(await socket.events(3)) == [1, 2, 3]
    await journal.append(execution_id, 2)
    assert _seqs(await socket.events(2)) == [4, 5]
    await journal.append(execution_id, 1, is_last=True)
    assert _seqs(await socket.events(1)) == [6]
    assert await socket.hear() == {"type": "ended", "channel": channel}
    assert (await socket.ask(id="2", method="subscribe", execution_id=execution_id, after_seq=6))["last_seq"] == 6
    assert await socket.hear() == {"type": "ended", "channel": channel}


async def test_after_seq_leaves_out_what_is_known(talk: Talk, journal: Journal, ann: Person) -> None:
    execution_id = journal.start(ann.id)
    await journal.append(execution_id, 5)
    socket = await talk(ann)
    await socket.ask(id="1", method="subscribe", execution_id=execution_id, after_seq=3)
    assert _seqs(await socket.events(2)) == [4, 5]


async def test_a_client_that_comes_back_has_the_list_of_one_that_stayed(talk: Talk, journal: Journal, ann: Person) -> None:
    execution_id = journal.start(ann.id)
    total = 1200

    async def write() -> None:
        for start in range(0, total, 8):
            await journal.append(execution_id, 8, is_last=start + 8 == total)
            await asyncio.sleep(0)

    async def follow(cuts: list[int]) -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = []
        for cut in [*cuts, total]:
            socket = await talk(ann)
            after = heard[-1]["seq"] if heard else 0
            await socket.ask(id="1", method="subscribe", execution_id=execution_id, after_seq=after)
            heard += await socket.events(cut - len(heard))
            socket.connection.transport.abort()
        return heard

    stayed, returned, _ = await asyncio.gather(follow([]), follow([1, 2, 10, 400, 401, 1199]), write())
    assert _seqs(stayed) == list(range(1, total + 1))
    assert returned == stayed


async def test_what_the_bus_loses_or_repeats_is_made_good(talk: Talk, journal: Journal, ann: Person) -> None:
    execution_id = journal.start(ann.id)
    socket = await talk(ann)
    await socket.ask(id="1", method="subscribe", execution_id=execution_id)
    await journal.append(execution_id, 2)
    await journal.append(execution_id, 3, is_published=False)
    await journal.append(execution_id, 1)
    await journal.publish(execution_id, journal._events[execution_id][1:4])
    # Nothing on the bus tells of the end.
    await journal.append(execution_id, 1, is_last=True, is_published=False)
    assert _seqs(await socket.events(7)) == list(range(1, 8))


async def test_values_pass_through_unchanged(talk: Talk, journal: Journal, ann: Person) -> None:
    value = '{"z":1,"a":[9007199254740993,123456789012345678901234567890],"ä":1.10}'
    execution_id = journal.start(ann.id)
    await journal.append(execution_id, 1, value=value)
    socket = await talk(ann)
    await socket.ask(id="1", method="subscribe", execution_id=execution_id)
    assert f'"value":{value}' in await socket.connection.recv()
    await journal.append(execution_id, 1, value=value)
    assert f'"value":{value}' in await socket.connection.recv()


async def test_unknown_and_foreign_executions_are_the_same_error(talk: Talk, journal: Journal, ann: Person, person: Any) -> None:
    foreign = journal.start(person().id)
    socket = await talk(ann)
    frames = [await socket.ask(id="9", method="subscribe", execution_id=name) for name in (foreign, "nothing", "../x*>")]
    assert frames[0] == frames[1] == frames[2]
    assert (frames[0]["id"], frames[0]["type"], frames[0]["error"]["code"]) == ("9", "error", 5)
    assert frames[0]["error"]["details"][0]["reason"] == "EXECUTION_NOT_FOUND"


async def test_a_replay_survives_an_execution_service_that_is_away(talk: Talk, journal: Journal, ann: Person) -> None:
    execution_id = journal.start(ann.id)
    await journal.append(execution_id, 1)
    socket = await talk(ann)
    await socket.ask(id="1", method="subscribe", execution_id=execution_id)
    assert _seqs(await socket.events(1)) == [1]
    journal.is_away = True
    try:
        await journal.append(execution_id, 1, is_published=False)
        await journal.append(execution_id, 1, is_last=True)
        refused = await socket.ask(id="2", method="subscribe", execution_id=execution_id)
        assert refused["error"]["code"] == 14
    finally:
        journal.is_away = False
    assert _seqs(await socket.events(2)) == [2, 3]


async def test_unsubscribe_is_quiet_and_may_be_repeated(talk: Talk, journal: Journal, ann: Person) -> None:
    execution_id = journal.start(ann.id)
    socket = await talk(ann)
    channel = (await socket.ask(id="1", method="subscribe", execution_id=execution_id))["channel"]
    twice = await socket.ask(id="2", method="subscribe", execution_id=execution_id)
    assert twice["error"]["details"][0]["reason"] == "ALREADY_SUBSCRIBED"
    for _ in range(2):
        gone = await socket.ask(id="3", method="unsubscribe", channel=channel)
        assert gone == {"id": "3", "type": "unsubscribed", "channel": channel}
    await journal.append(execution_id, 2)
    assert await socket.ask(id="4", method="ping") == {"id": "4", "type": "pong"}
    await socket.ask(id="5", method="subscribe", execution_id=execution_id, after_seq=1)
    assert _seqs(await socket.events(1)) == [2]


async def test_several_executions_share_a_socket_each_in_order(talk: Talk, journal: Journal, ann: Person) -> None:
    ids = [journal.start(ann.id) for _ in range(5)]
    socket = await talk(ann)
    for number, execution_id in enumerate(ids):
        await socket.ask(id=str(number), method="subscribe", execution_id=execution_id)
    for _ in range(10):
        for execution_id in ids:
            await journal.append(execution_id, 2)
    heard: dict[str, list[int]] = {}
    for event in await socket.events(100):
        heard.setdefault(event["execution_id"], []).append(event["seq"])
    assert heard == {execution_id: list(range(1, 21)) for execution_id in ids}
