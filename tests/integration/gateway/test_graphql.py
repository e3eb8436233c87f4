"""GraphQL on real sockets: queries, refusals, and subscriptions that miss nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from mesh.ids import uuid7
from tests.integration.gateway.conftest import MAX_SOCKETS, Conversation, Person
from tests.integration.gateway.journal import Journal

WATCH = "subscription($id: String!, $after: Int) { watchExecution(executionId: $id, afterSeq: $after) { seq kind value } }"


class Client:
    """A client's side of a socket, in the protocol `graphql-transport-ws`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, **frame: Any) -> None:
        """Sends a frame."""
        await self.connection.send(orjson.dumps(frame).decode())

    async def hear(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(10):
            return dict(orjson.loads(await self.connection.recv()))

    async def start(self, **payload: Any) -> None:
        """Says who it is."""
        await self.say(type="connection_init", payload=payload)
        assert (await self.hear())["type"] == "connection_ack"

    async def watch(self, execution_id: str, after: int = 0, id: str = "1") -> None:
        """Subscribes to an execution."""
        await self.say(type="subscribe", id=id, payload={"query": WATCH, "variables": {"id": execution_id, "after": after}})

    async def seqs(self, count: int) -> list[int]:
        """The seqs of the next events."""
        heard = [await self.hear() for _ in range(count)]
        return [frame["payload"]["data"]["watchExecution"]["seq"] for frame in heard]

    async def closed(self) -> int | None:
        """Waits for the end; returns the close code."""
        async with asyncio.timeout(20):
            await self.connection.wait_closed()
        return self.connection.close_code


@pytest_asyncio.fixture
async def dial(address: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens sockets, closed at the end of the test."""
    opened: list[ClientConnection] = []

    async def start(somebody: Person | None = None, query: str = "", **options: Any) -> Client:
        headers = somebody.headers if somebody else {}
        protocol = [Subprotocol("graphql-transport-ws")]
        options = {"subprotocols": protocol, "additional_headers": headers, "compression": None} | options
        connection = await connect(f"ws://{address}/graphql{query}", **options)
        opened.append(connection)
        return Client(connection)

    yield start
    for connection in opened:
        await connection.close()


@pytest.fixture
def post(address: str) -> Callable[..., Any]:
    """Sends a request as somebody."""

    async def send(somebody: Person | None, query: str, **variables: Any) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            body = {"query": query, "variables": variables}
            return await client.post(f"http://{address}/graphql", json=body, headers=somebody.headers if somebody else {})

    return send


async def test_an_execution_is_read_with_its_events(ann: Person, journal: Journal, post: Callable[..., Any]) -> None:
    execution_id = journal.start(ann.id)
    await journal.append(execution_id, 3, is_last=True, value='{"deep":[1,2.50,null]}')
    query = "query($id: String!) { execution(executionId: $id) { id status lastSeq events { items { seq kind value } nextPageToken } } }"
    answer = (await post(ann, query, id=execution_id)).json()
    assert "errors" not in answer
    shown = answer["data"]["execution"]
    assert (shown["id"], shown["status"], shown["lastSeq"]) == (execution_id, "EXECUTION_STATUS_COMPLETED", 3)
    assert [event["seq"] for event in shown["events"]["items"]] == [1, 2, 3]
    assert shown["events"]["items"][0] == {"seq": 1, "kind": "EVENT_KIND_NODE_OUTPUT", "value": {"deep": [1, 2.5, None]}}


async def test_somebody_elses_execution_does_not_exist(person: Callable[..., Person], journal: Journal, post: Callable[..., Any]) -> None:
    execution_id = journal.start(person().id)
    answer = (await post(person(), "query($id: String!) { execution(executionId: $id) { id } }", id=execution_id)).json()
    assert answer["data"] == {"execution": None}
    (error,) = answer["errors"]
    assert error["path"] == ["execution"]
    assert error["extensions"]["code"] == 5
    assert error["extensions"]["details"][0]["reason"] == "EXECUTION_NOT_FOUND"


async def test_strangers_are_told_in_our_words(post: Callable[..., Any]) -> None:
    answer = await post(None, "{ me { id } }")
    assert answer.status_code == 401
    assert answer.json()["code"] == 16
    assert answer.json()["details"][0]["reason"] == "TOKEN_MISSING"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("{", "GRAPHQL_INVALID"),
        ("{ nothing }", "GRAPHQL_INVALID"),
        ("query($id: String!) { execution(executionId: $id) { id } }", "GRAPHQL_INVALID"),
        ("{ graphs(pageSize: 1000) { items { executions(pageSize: 1000) { items { id } } } } }", "GRAPHQL_TOO_COSTLY"),
        ("{ graph(graphId: 1) { " + "subGraphs { " * 20 + "id" + " }" * 20 + " } }", "GRAPHQL_TOO_DEEP"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "GRAPHQL_INVALID"),
    ],
)
async def test_what_is_no_request_for_us_is_refused_with_a_reason(ann: Person, post: Callable[..., Any], query: str, reason: str) -> None:
    answer = await post(ann, query)
    assert answer.status_code == 200
    (error, *_) = answer.json()["errors"]
    assert error["extensions"]["code"] == 3
    assert error["extensions"]["details"][0]["reason"] == reason


async def test_only_json_by_post_is_taken(ann: Person, address: str) -> None:
    async with httpx.AsyncClient(headers=ann.headers) as client:
        url = f"http://{address}/graphql"
        assert (await client.get(url, params={"query": "{ me { id } }"})).status_code == 405
        assert (await client.post(url, content="{ me { id } }", headers={"content-type": "application/graphql"})).status_code == 415
        stream = {"query": WATCH, "variables": {"id": uuid7()}}
        for accept in ("application/json", "text/event-stream", 'multipart/mixed;boundary="-";subscriptionSpec=1.0'):
            assert (await client.post(url, json=stream, headers={"accept": accept})).status_code == 400
        assert (await client.post(url, content="{", headers={"content-type": "application/json"})).status_code == 400
        assert (await client.post(url, content=b"x" * 5_000_000, headers={"content-type": "application/json"})).status_code == 413


async def test_a_subscription_goes_on_where_the_client_left(ann: Person, journal: Journal, dial: Callable[..., Any]) -> None:
    execution_id = journal.start(ann.id)
    await journal.append(execution_id, 5)
    first = await dial(ann)
    await first.start()
    await first.watch(execution_id)
    assert await first.seqs(5) == [1, 2, 3, 4, 5]
    await first.connection.close()
    await journal.append(execution_id, 3)
    second = await dial()
    await second.start(authorization=f"Bearer {ann.token}")
    await second.watch(execution_id, after=5)
    assert await second.seqs(3) == [6, 7, 8]
    await journal.append(execution_id, 2, is_last=True)
    assert await second.seqs(2) == [9, 10]
    assert await second.hear() == {"id": "1", "type": "complete"}


async def test_a_lost_message_of_the_bus_leaves_no_gap(ann: Person, journal: Journal, dial: Callable[..., Any]) -> None:
    execution_id = journal.start(ann.id)
    await journal.append(execution_id, 1)
    client = await dial(ann)
    await client.start()
    await client.watch(execution_id)
    assert await client.seqs(1) == [1]
    await journal.append(execution_id, 2, is_published=False)
    await journal.append(execution_id, 1)
    assert await client.seqs(3) == [2, 3, 4]


async def test_a_subscription_to_nothing_is_an_error(ann: Person, dial: Callable[..., Any]) -> None:
    client = await dial(ann)
    await client.start()
    await client.watch(uuid7())
    frame = await client.hear()
    assert frame["type"] == "error"
    assert frame["payload"][0]["extensions"]["details"][0]["reason"] == "EXECUTION_NOT_FOUND"


async def test_a_socket_without_a_token_is_closed(dial: Callable[..., Any]) -> None:
    client = await dial()
    await client.say(type="connection_init")
    assert await client.closed() == 4401


async def test_a_socket_ends_with_its_token(person: Callable[..., Person], dial: Callable[..., Any]) -> None:
    client = await dial(person(ttl_s=1))
    await client.start()
    assert await client.closed() == 4401


async def test_a_user_has_so_many_sockets_of_both_kinds(
    ann: Person, person: Callable[..., Person], dial: Callable[..., Any], talk: Callable[..., Any]
) -> None:
    first = await dial(ann)
    await first.start()
    for _ in range(MAX_SOCKETS - 1):
        socket = await talk(ann)
        assert (await socket.ask(id="1", method="ping"))["type"] == "pong"
    late = await dial(ann)
    await late.say(type="connection_init")
    assert await late.closed() == 1013
    assert await (await talk(ann)).closed() == 1013
    await (await dial(person())).start()
    await first.connection.close()
    # The place is free once the gateway has noticed.
    async with asyncio.timeout(10):
        while True:
            if await _kind_of_answer(await talk(ann)) == "pong":
                break
            await asyncio.sleep(0.05)


async def _kind_of_answer(socket: Conversation) -> str:
    try:
        return str((await socket.ask(id="1", method="ping"))["type"])
    except ConnectionClosed:
        return ""
