"""However much an execution holds, its callers can read it: each message fits, and what does not stands behind a reference."""

from typing import Any

import grpc
import httpx
import orjson
import pytest
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from mesh.limits import MAX_MESSAGE_BYTES
from services.execution.sizes import MAX_MASKS_BYTES, MAX_VALUE_BYTES
from tests.integration.execution.api import Api, Person, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, OUTPUT, STORE, TIMER, document, link, node

TEMPLATE = "db7d8f02-2f44-4c55-ab7a-eae0941f0c30"
DICTIONARY = "b924ddf4-de4f-4b56-9a85-358930dcbc91"
COUNT = "3c9c2f42-b0c3-435f-ba35-05f7a25c772a"


def echo() -> dict[str, Any]:
    """Gives its input back."""
    nodes = [node("in", INPUT, name="X"), node("keep", STORE), node("out", OUTPUT, name="R")]
    return document(nodes, [link("in.result", "keep.input"), link("keep.output", "out.value")])


def repeat(times: int) -> dict[str, Any]:
    """Gives its input back so many times."""
    nodes = [node("in", INPUT, name="X"), node("timer", TIMER, repeat=times), node("out", OUTPUT, name="R")]
    return document(nodes, [link("in.result", "timer.input_message"), link("timer.output_message", "out.value")])


def merge() -> dict[str, Any]:
    """Doubles its input and puts it into one dictionary three times: a firing with large inputs, whose output is too large."""
    nodes = [
        node("in", INPUT, name="X"),
        node("fill", TEMPLATE, format="{{ t }}{{ t }}"),
        node("join", DICTIONARY),
        node("count", COUNT),
        node("out", OUTPUT, name="R"),
    ]
    pins = [link("fill.output", f"join.values_#_{key}") for key in "abc"]
    return document(
        nodes, [link("in.result", "fill.values_#_t"), *pins, link("join.error", "count.collection"), link("count.count", "out.value")]
    )


async def get(person: Person, execution_id: str, view: "pb.ExecutionView.ValueType" = pb.EXECUTION_VIEW_UNSPECIFIED) -> pb.Execution:
    """The execution, over a channel with the usual limit of 4 MiB."""
    answer = await person.call("GetExecution", pb.GetExecutionRequest(execution_id=execution_id, view=view))
    assert answer.ByteSize() < MAX_MESSAGE_BYTES
    execution: pb.Execution = answer.execution
    return execution


async def value(person: Person, execution_id: str, ref: pb.ValueRef) -> str:
    """What a reference stands for."""
    request = pb.GetExecutionValueRequest(execution_id=execution_id, sha256=ref.sha256)
    text: str = (await person.call("GetExecutionValue", request)).value.json
    assert len(text.encode()) == ref.size_bytes
    return text


async def test_an_execution_of_many_megabytes_is_read_and_followed(api: Api, lab: Lab) -> None:
    person = await api.person()
    text = jsontext.dumps("z" * 3_000_000)
    async with lab.worker():
        created = await person.create(await person.save(echo()), X=text)
        events = await person.watch(created.id)
    assert events[-1].kind == pb.EVENT_KIND_EXECUTION_COMPLETED
    execution = await get(person, created.id)
    assert [*execution.input_names, *execution.output_names] == ["X", "R"]
    assert execution.outputs["R"].json == f"[{text}]"
    assert "X" not in execution.inputs
    assert await value(person, created.id, execution.input_refs["X"]) == text
    firings = pb.ListNodeExecutionsRequest(execution_id=created.id)
    assert len((await person.call("ListNodeExecutions", firings)).node_executions) == 3


async def test_many_large_outputs_come_in_parts_in_their_order(api: Api, lab: Lab) -> None:
    person = await api.person()
    text = jsontext.dumps("z" * 1_000_000)
    async with lab.worker():
        created = await person.create(await person.save(repeat(8)), X=text)
        await person.watch(created.id)
    execution = await get(person, created.id)
    assert await value(person, created.id, execution.input_refs["X"]) == text
    parts = [orjson.loads(await value(person, created.id, ref)) for ref in execution.output_refs["R"].parts]
    assert [item for part in parts for item in part] == ["z" * 1_000_000] * 8
    async with httpx.AsyncClient(base_url=f"http://{api.http_address}", headers={"authorization": f"Bearer {person.token}"}) as client:
        shown = (await client.get(f"/v1/executions/{created.id}")).json()
        assert shown["outputs"] == {}
        refs = shown["output_refs"]["R"]["parts"]
        assert [ref["sha256"] for ref in refs] == [ref.sha256 for ref in execution.output_refs["R"].parts]
        assert (await client.get(f"/v1/executions/{created.id}/values/{refs[0]['sha256']}")).json() == parts[0]
    other = await api.person()
    async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await value(other, created.id, execution.output_refs["R"].parts[0])


async def test_the_basic_view_has_no_values(api: Api, lab: Lab) -> None:
    person = await api.person()
    async with lab.worker():
        created = await person.create(await person.save(echo()), X="1")
        await person.watch(created.id)
    execution = await get(person, created.id, pb.EXECUTION_VIEW_BASIC)
    assert (execution.graph_id, execution.last_seq, execution.status) == (created.graph_id, 13, pb.EXECUTION_STATUS_COMPLETED)
    assert [*execution.inputs, *execution.outputs, *execution.input_names, *execution.output_names] == []
    full = await get(person, created.id, pb.EXECUTION_VIEW_FULL)
    assert (full.inputs["X"].json, full.outputs["R"].json) == ("1", "[1]")


async def test_a_firing_with_inputs_of_many_megabytes_holds_up_no_stream(api: Api, lab: Lab) -> None:
    person = await api.person()
    async with lab.worker():
        created = await person.create(await person.save(merge()), X=jsontext.dumps("z" * 1_300_000))
        watched = await person.watch(created.id)
    assert await person.watch(created.id) == watched
    assert await person.events(created.id, 1000) == watched
    assert max(event.ByteSize() for event in watched) < 100_000
    [started] = [event for event in watched if event.kind == pb.EVENT_KIND_NODE_STARTED and event.node_id == "join"]
    assert started.value_ref.size_bytes > 3 * 2_600_000
    assert watched[-1].kind == pb.EVENT_KIND_EXECUTION_COMPLETED
    assert (await get(person, created.id)).outputs["R"].json.startswith("[")
    async with httpx.AsyncClient(base_url=f"http://{api.http_address}", headers={"authorization": f"Bearer {person.token}"}) as client:
        lines = (await client.get(f"/v1/executions/{created.id}:watch")).text.splitlines()
        assert [orjson.loads(line)["seq"] for line in lines] == [event.seq for event in watched]
        # Larger than a gRPC client takes unless it is told to; REST has no such limit.
        inputs = (await client.get(f"/v1/executions/{created.id}/values/{started.value_ref.sha256}")).json()
        assert {key: len(inputs["values"][key]) for key in "abc"} == dict.fromkeys("abc", 2_600_000)


@pytest.mark.parametrize("size", [MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1])
async def test_an_input_is_as_large_as_a_value_may_be(api: Api, lab: Lab, size: int) -> None:
    person = await api.person()
    graph_id, text = await person.save(echo()), '"' + "z" * (size - 2) + '"'
    if size > MAX_VALUE_BYTES:
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INPUT_INVALID") as details:
            await person.create(graph_id, X=text)
        assert [item.field for item in details["BadRequest"].field_violations] == ['inputs["X"]']
        return
    async with lab.worker():
        created = await person.create(graph_id, X=text)
        await person.watch(created.id)
    execution = await get(person, created.id)
    assert await value(person, created.id, execution.input_refs["X"]) == text
    assert await value(person, created.id, execution.output_refs["R"].parts[0]) == f"[{text}]"


async def test_masks_are_shown_as_they_are_so_they_are_small(api: Api, lab: Lab) -> None:
    person = await api.person()
    masks = {"keep": JsonValue(json=jsontext.dumps({"input": "z" * MAX_MASKS_BYTES}))}
    request = pb.CreateExecutionRequest(graph_id=await person.save(echo()), input_masks=masks)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INPUT_INVALID"):
        await person.call("CreateExecution", request)
