"""The gateway in front of the real services: what a WebSocket shows is what the journal holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import grpc.aio
import orjson
import pytest_asyncio
from treadle.auth.v1 import auth_service_pb2 as auth
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from treadle.execution.v1 import execution_service_pb2 as execution
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.graph.v1 import graph_service_pb2 as graph
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub
from treadle.type.v1.json_value_pb2 import JsonValue
from websockets.asyncio.client import connect

from mesh.host import Host, find_services, hosted
from mesh.http.encode import to_json
from mesh.settings import Settings
from tests.integration.gateway.conftest import Conversation

_INPUT = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
_OUTPUT = "363ae599-353e-4804-937e-b2ee3cef3da4"
_CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
_TEMPLATE = "db7d8f02-2f44-4c55-ab7a-eae0941f0c30"
_DICTIONARY = "b924ddf4-de4f-4b56-9a85-358930dcbc91"
_LENGTH = 30


@pytest_asyncio.fixture(scope="module")
async def host(migrated: Settings) -> AsyncIterator[Host]:
    """A process with everything that an execution takes."""
    async with hosted(find_services(["auth", "user", "graph", "block", "execution", "worker", "gateway"]), migrated) as running:
        yield running


class Client:
    """Somebody with a graph, over gRPC and WebSocket."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._graphs: Any = GraphServiceStub(channel)
        self._executions: Any = ExecutionServiceStub(channel)
        self.headers = {"authorization": f"Bearer {token}"}
        self._metadata = tuple(self.headers.items())

    async def make_graph(self, wanted: graph.Graph | None = None) -> str:
        """The graph, or else a chain of calculators that add one each."""
        made = await self._graphs.CreateGraph(graph.CreateGraphRequest(graph=wanted or _chain()), metadata=self._metadata)
        return str(made.graph.id)

    async def run(self, graph_id: str, value: str = "9007199254740993") -> str:
        """Starts an execution."""
        request = execution.CreateExecutionRequest(graph_id=graph_id, inputs={"X": JsonValue(json=value)})
        return str((await self._executions.CreateExecution(request, metadata=self._metadata)).execution.id)

    async def journal(self, execution_id: str) -> list[dict[str, Any]]:
        """All events, by pages of seven."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["seq"] if found else 0
            request = execution.ListExecutionEventsRequest(execution_id=execution_id, after_seq=after, page_size=7)
            page = (await self._executions.ListExecutionEvents(request, metadata=self._metadata)).events
            if not page:
                return found
            found += [orjson.loads(to_json(event)) for event in page]


@pytest_asyncio.fixture
async def client(host: Host) -> AsyncIterator[Client]:
    """A user of this test only."""
    async with grpc.aio.insecure_channel(host.grpc_address) as channel:
        request = auth.RegisterRequest(email=f"{uuid4().hex}@example.com", password="correct horse battery")
        accounts: Any = AuthServiceStub(channel)
        yield Client(channel, (await accounts.Register(request)).access_token)


async def _follow(host: Host, client: Client, execution_id: str, cuts: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """The events that a client hears that breaks off after each of the cuts and comes back."""
    heard: list[dict[str, Any]] = []
    for cut in (*cuts, None):
        async with connect(f"ws://{host.http_address}/v1/ws", additional_headers=client.headers) as connection:
            socket = Conversation(connection)
            after_seq = heard[-1]["seq"] if heard else 0
            answer = await socket.ask(id="1", method="subscribe", execution_id=execution_id, after_seq=after_seq)
            assert answer["type"] == "subscribed"
            while len(heard) != cut and (frame := await socket.hear())["type"] == "event":
                heard.append(frame["event"])
            if cut:
                connection.transport.abort()
    return heard


async def test_those_who_stay_and_those_who_come_back_hear_what_the_journal_holds(host: Host, client: Client) -> None:
    execution_id = await client.run(await client.make_graph())
    stayed, returned = await asyncio.gather(_follow(host, client, execution_id), _follow(host, client, execution_id, (1, 2, 5, 17, 40, 41)))
    journal = await client.journal(execution_id)
    assert [event["seq"] for event in stayed] == list(range(1, len(stayed) + 1))
    assert stayed[-1]["kind"] == "EVENT_KIND_EXECUTION_COMPLETED"
    assert stayed == returned == journal


async def test_a_graph_channel_shows_each_execution_from_its_start(host: Host, client: Client) -> None:
    graph_id, other = await client.make_graph(), await client.make_graph()
    async with connect(f"ws://{host.http_address}/v1/ws", additional_headers=client.headers) as connection:
        socket = Conversation(connection)
        assert (await socket.ask(id="1", method="subscribe", graph_id=graph_id))["channel"] == f"graph:{graph_id}"
        ids = [await client.run(graph_id) for _ in range(3)]
        await client.run(other)
        heard: dict[str, list[dict[str, Any]]] = {execution_id: [] for execution_id in ids}
        while not all(events and events[-1]["kind"] == "EVENT_KIND_EXECUTION_COMPLETED" for events in heard.values()):
            event = (await socket.hear())["event"]
            heard[event["execution_id"]].append(event)
    for execution_id in ids:
        assert heard[execution_id] == await client.journal(execution_id)


async def test_executions_of_many_megabytes_are_followed_live_and_after_their_end(host: Host, client: Client) -> None:
    graph_id = await client.make_graph(_merge())
    for size in (1_300_000, 1_900_000):
        execution_id = await client.run(graph_id, json.dumps("z" * size))
        live = await _follow(host, client, execution_id)
        assert live[-1]["kind"] == "EVENT_KIND_EXECUTION_COMPLETED"
        assert await _follow(host, client, execution_id) == live == await client.journal(execution_id)


def _node(node_id: str, block_id: str, **constants: Any) -> graph.Node:
    return graph.Node(id=node_id, block_id=block_id, input_default=JsonValue(json=json.dumps(constants)))


def _link(source: str, source_name: str, sink: str, sink_name: str) -> graph.Link:
    return graph.Link(source_id=source, source_name=source_name, sink_id=sink, sink_name=sink_name)


def _merge() -> graph.Graph:
    """Doubles its input, shows it, and puts it into a dictionary three times."""
    nodes = [_node("in", _INPUT, name="X"), _node("fill", _TEMPLATE, format="{{ t }}{{ t }}"), _node("join", _DICTIONARY)]
    nodes.append(_node("out", _OUTPUT, name="R"))
    links = [_link("in", "result", "fill", "values_#_t"), _link("fill", "output", "out", "value")]
    links += [_link("fill", "output", "join", f"values_#_{key}") for key in "abc"]
    return graph.Graph(name="merge", nodes=nodes, links=links)


def _chain() -> graph.Graph:
    node, link = _node, _link
    names = [f"n{number}" for number in range(_LENGTH)]
    nodes = [node("in", _INPUT, name="X"), node("out", _OUTPUT, name="R")]
    nodes += [node(name, _CALCULATOR, operation="Add", b=1) for name in names]
    links = [link("in", "result", names[0], "a"), link(names[-1], "result", "out", "value")]
    links += [link(source, "result", sink, "a") for source, sink in pairwise(names)]
    return graph.Graph(name="chain", nodes=nodes, links=links)
