"""ExecutionService through its gRPC door, with the services it needs, as a signed-in person."""

import asyncio

import grpc
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from mesh.ids import uuid7
from tests.integration.execution.api import Api, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import CALCULATOR, INPUT, OUTPUT, STORE, chain, document, link, node


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
    nodes = [node("in", INPUT, name="X"), *(node(f"keep{at}", STORE) for at in range(40))]
    links = [link("in.result", "keep0.input"), *(link(f"keep{at}.output", f"keep{at + 1}.input") for at in range(39))]
    # As long as a value may be and still stand in its event.
    text = jsontext.dumps("ü" * 32_000)
    async with lab.worker():
        created = await person.create(await person.save(document(nodes, links)), X=text)
        watched = await person.watch(created.id)
    assert len([event for event in watched if event.value.json == text]) >= 40
    assert await person.events(created.id, 1000) == watched
