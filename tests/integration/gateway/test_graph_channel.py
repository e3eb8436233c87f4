"""Following a graph: live events of the caller's own executions of it."""

from collections.abc import Callable
from typing import Any

from mesh.ids import uuid7
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
