"""ExecutionService through its gRPC door, with the services it needs, as a signed-in person."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from treadle.auth.v1.auth_service_pb2 import RegisterRequest
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.graph.v1 import graph_service_pb2 as graph_pb
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from mesh.host import find_services, hosted
from mesh.ids import uuid7
from mesh.settings import Settings
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import CALCULATOR, INPUT, OUTPUT, STORE, chain, document, link, node

SERVICES = ["auth", "user", "graph", "block", "execution"]


class Person:
    """Someone signed in."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.executions: Any = ExecutionServiceStub(channel)
        self._graphs: Any = GraphServiceStub(channel)

    async def call(self, rpc: str, request: Message) -> Any:
        """A unary call of ExecutionService."""
        return await getattr(self.executions, rpc)(request, metadata=self._metadata, timeout=15)

    async def save(self, graph: dict[str, Any]) -> str:
        """Saves a graph and returns its id."""
        message = graph_pb.Graph(
            name="test",
            nodes=[
                graph_pb.Node(id=item["id"], block_id=item["block_id"], input_default=JsonValue(json=jsontext.dumps(item["input_default"])))
                for item in graph["nodes"]
            ],
            links=[graph_pb.Link(**item) for item in graph["links"]],
        )
        answer = await self._graphs.CreateGraph(graph_pb.CreateGraphRequest(graph=message), metadata=self._metadata)
        saved: str = answer.graph.id
        return saved

    async def create(self, graph_id: str, *, request_id: str = "", **inputs: str) -> pb.Execution:
        """Creates an execution; inputs are JSON text."""
        values = {name: JsonValue(json=text) for name, text in inputs.items()}
        request = pb.CreateExecutionRequest(graph_id=graph_id, inputs=values, request_id=request_id)
        execution: pb.Execution = (await self.call("CreateExecution", request)).execution
        return execution

    async def watch(self, execution_id: str, after_seq: int = 0) -> list[pb.Event]:
        """All events after a seq, to the terminal one."""
        request = pb.WatchExecutionRequest(execution_id=execution_id, after_seq=after_seq)
        return [answer.event async for answer in self.executions.WatchExecution(request, metadata=self._metadata, timeout=20)]

    async def events(self, execution_id: str, page_size: int, after_seq: int = 0) -> list[pb.Event]:
        """All events after a seq, page by page."""
        found: list[pb.Event] = []
        token = ""
        while True:
            request = pb.ListExecutionEventsRequest(execution_id=execution_id, after_seq=after_seq, page_size=page_size, page_token=token)
            answer = await self.call("ListExecutionEvents", request)
            found += answer.events
            token = answer.next_page_token
            if not token:
                return found


class Api:
    """The services behind one gRPC door."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def person(self) -> Person:
        """Someone new."""
        request = RegisterRequest(email=f"{uuid7()}@example.com", password="correct horse battery", display_name="Test")
        stub: Any = AuthServiceStub(self._channel)
        return Person(self._channel, (await stub.Register(request)).access_token)


@pytest_asyncio.fixture(scope="module")
async def api(migrated: Settings) -> AsyncIterator[Api]:
    """The services in this process."""
    async with hosted(find_services(SERVICES), migrated) as host, grpc.aio.insecure_channel(host.grpc_address) as channel:
        yield Api(channel)


@asynccontextmanager
async def refused(code: grpc.StatusCode, reason: str) -> AsyncIterator[dict[str, Any]]:
    """Expects an error with this code and reason; gives its other details by type."""
    details: dict[str, Any] = {}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield details
    assert caught.value.code() is code, caught.value.details()
    status = Status.FromString(dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"])  # type: ignore[arg-type,index]
    for packed in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                details[kind.__name__] = kind.FromString(packed.value)
    assert details["ErrorInfo"].reason == reason


async def test_an_execution_is_created_run_and_shown(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id = await person.save(chain(3))
    created = await person.create(graph_id, X="1")
    assert (created.status, created.last_seq, created.graph_version) == (pb.EXECUTION_STATUS_QUEUED, 1, 1)
    async with lab.worker():
        watched = await person.watch(created.id)
    execution = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=created.id))).execution
    assert (execution.status, execution.outcome) == (pb.EXECUTION_STATUS_COMPLETED, pb.EXECUTION_OUTCOME_SUCCEEDED)
    assert {name: value.json for name, value in execution.outputs.items()} == {"R": "[4.0]"}
    assert (execution.stats.node_count, execution.stats.node_error_count) == (5, 0)
    assert [event.seq for event in watched] == list(range(1, execution.last_seq + 1))
    assert watched[0].kind == pb.EVENT_KIND_EXECUTION_QUEUED
    assert watched[-1].kind == pb.EVENT_KIND_EXECUTION_COMPLETED


async def test_watch_and_list_tell_the_same_from_any_point(api: Api, lab: Lab) -> None:
    person = await api.person()
    execution_id = (await person.create(await person.save(chain(10)), X="1")).id
    async with lab.worker():
        stayed, also = await asyncio.gather(person.watch(execution_id), person.watch(execution_id, 3))
    assert [event.SerializeToString(deterministic=True) for event in also] == [
        event.SerializeToString(deterministic=True) for event in stayed[3:]
    ]
    assert await person.events(execution_id, 7) == stayed
    assert await person.events(execution_id, 1000, 5) == stayed[5:]
    assert await person.watch(execution_id, 20) == stayed[20:]
    assert await person.watch(execution_id, stayed[-1].seq) == []
    assert await person.watch(execution_id, 1_000_000) == []


async def test_key_order_and_large_integers_survive(api: Api, lab: Lab) -> None:
    person = await api.person()
    nodes = [node("in", INPUT, name="X"), node("keep", STORE), node("out", OUTPUT, name="R")]
    graph_id = await person.save(document(nodes, [link("in.result", "keep.input"), link("keep.output", "out.value")]))
    text = '{"z":1,"a":123456789012345678901234567890,"m":{"y":9007199254740993,"b":[1.5,null]}}'
    async with lab.worker():
        created = await person.create(graph_id, X=text)
        events = await person.watch(created.id)
    execution = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=created.id))).execution
    assert execution.inputs["X"].json == text
    assert execution.outputs["R"].json == f"[{text}]"
    assert text in [event.value.json for event in events if event.kind == pb.EVENT_KIND_NODE_OUTPUT]


async def test_a_request_id_makes_one_execution(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id = await person.save(chain(1))
    request_id = uuid7()
    made = await asyncio.gather(*(person.create(graph_id, request_id=request_id, X="1") for _ in range(30)))
    assert len({execution.id for execution in made}) == 1
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED"):
        await person.create(graph_id, request_id=request_id, X="2")
    other = await api.person()
    theirs = await other.create(await other.save(chain(1)), request_id=request_id, X="1")
    assert theirs.id != made[0].id


async def test_what_is_anothers_does_not_exist(api: Api, lab: Lab) -> None:
    owner, other = await api.person(), await api.person()
    graph_id = await owner.save(chain(1))
    execution_id = (await owner.create(graph_id, X="1")).id
    async with refused(grpc.StatusCode.NOT_FOUND, "GRAPH_NOT_FOUND"):
        await other.create(graph_id, X="1")
    for rpc in ("GetExecution", "ListExecutionEvents", "ListNodeExecutions", "CancelExecution"):
        async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
            await other.call(rpc, getattr(pb, f"{rpc}Request")(execution_id=execution_id))
    async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await other.watch(execution_id)
    async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await owner.watch("nonsense")
    answer = await other.call("ListExecutions", pb.ListExecutionsRequest())
    assert list(answer.executions) == []


async def test_executions_are_listed_newest_first_in_pages(api: Api, lab: Lab) -> None:
    person = await api.person()
    graphs = [await person.save(chain(1)) for _ in range(2)]
    made = [(await person.create(graphs[at % 2], X="1")).id for at in range(7)]
    found: list[str] = []
    token = ""
    while True:
        answer = await person.call("ListExecutions", pb.ListExecutionsRequest(page_size=3, page_token=token))
        found += [execution.id for execution in answer.executions]
        token = answer.next_page_token
        if not token:
            break
    assert found == made[::-1]
    answer = await person.call("ListExecutions", pb.ListExecutionsRequest(graph_id=graphs[1]))
    assert [execution.id for execution in answer.executions] == made[1::2][::-1]
    answer = await person.call("ListExecutions", pb.ListExecutionsRequest(status=pb.EXECUTION_STATUS_COMPLETED))
    assert list(answer.executions) == []
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        await person.call("ListExecutions", pb.ListExecutionsRequest(page_token="nonsense"))


async def test_firings_are_listed_with_inputs_outputs_and_what_they_miss(api: Api, lab: Lab) -> None:
    person = await api.person()
    nodes = [
        node("in", INPUT, name="X"),
        node("late", INPUT, name="Y"),
        node("sum", CALCULATOR, operation="Add"),
        node("out", OUTPUT, name="R"),
    ]
    graph = document(nodes, [link("in.result", "sum.a"), link("late.result", "sum.b"), link("sum.result", "out.value")])
    async with lab.worker():
        created = await person.create(await person.save(graph), X="3")
        await person.watch(created.id)
    answer = await person.call("ListNodeExecutions", pb.ListNodeExecutionsRequest(execution_id=created.id))
    (waiting,) = [firing for firing in answer.node_executions if firing.node_id == "sum"]
    assert waiting.status == pb.EXECUTION_STATUS_INCOMPLETE
    assert waiting.error
    (given,) = [firing for firing in answer.node_executions if firing.node_id == "in"]
    assert given.status == pb.EXECUTION_STATUS_COMPLETED
    assert [(output.pin, output.value.json) for output in given.outputs] == [("result", "3")]
    execution = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=created.id))).execution
    assert execution.outcome == pb.EXECUTION_OUTCOME_NO_OUTPUT
    assert [(blocked.node_id, list(blocked.pins_missing)) for blocked in execution.stats.blocked] == [("sum", ["b"])]
    first = await person.call("ListNodeExecutions", pb.ListNodeExecutionsRequest(execution_id=created.id, page_size=2))
    rest = await person.call("ListNodeExecutions", pb.ListNodeExecutionsRequest(execution_id=created.id, page_token=first.next_page_token))
    assert [*first.node_executions, *rest.node_executions] == list(answer.node_executions)


async def test_inputs_that_do_not_fit_are_refused_whole(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id = await person.save(chain(1))
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INPUT_INVALID"):
        request = pb.CreateExecutionRequest(graph_id=graph_id, input_masks={"n0": JsonValue(json="[1]")})
        await person.call("CreateExecution", request)
    answer = await person.call("ListExecutions", pb.ListExecutionsRequest(graph_id=graph_id))
    assert list(answer.executions) == []


async def test_cancel_answers_with_the_end(api: Api, lab: Lab) -> None:
    person = await api.person()
    created = await person.create(await person.save(chain(1)), X="1")
    answer = await person.call("CancelExecution", pb.CancelExecutionRequest(execution_id=created.id))
    assert answer.execution.status == pb.EXECUTION_STATUS_TERMINATED
    events = await person.watch(created.id)
    assert [event.kind for event in events] == [pb.EVENT_KIND_EXECUTION_QUEUED, pb.EVENT_KIND_EXECUTION_TERMINATED]


async def test_large_events_come_in_pages_that_fit(api: Api, lab: Lab) -> None:
    person = await api.person()
    nodes = [node("in", INPUT, name="X"), *(node(f"keep{at}", STORE) for at in range(6))]
    links = [link("in.result", "keep0.input"), *(link(f"keep{at}.output", f"keep{at + 1}.input") for at in range(5))]
    text = jsontext.dumps("ü" * 1_200_000)
    async with lab.worker():
        created = await person.create(await person.save(document(nodes, links)), X=text)
        watched = await person.watch(created.id)
    assert len([event for event in watched if event.value.json == text]) >= 7
    assert await person.events(created.id, 1000) == watched
