"""Explanations: why nodes fired as they did, at any time of an execution."""

import time

import grpc
import pytest
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import jsontext
from services.execution.explanations import Explanations
from services.execution.repository.executions import Record
from tests.integration.execution.api import Api, Person, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import CALCULATOR, INPUT, OUTPUT, STEP, STORE, chain, document, link, node

# What comes to `sum.operation` is none, so nothing comes to what is behind it.
GRAPH = document(
    [
        node("in", INPUT, name="X"),
        node("step", STEP),
        node("words", STEP, items=["Guess"]),
        node("sum", CALCULATOR, b=1),
        node("never", STORE),
        node("out", OUTPUT, name="R"),
    ],
    [
        link("in.result", "step.items"),
        link("step.item", "sum.a"),
        link("words.item", "sum.operation"),
        link("sum.result", "out.value"),
        link("sum.error", "never.input"),
    ],
)


async def explain(person: Person, execution_id: str, node_id: str = "") -> dict[str, pb.NodeExplanation]:
    """Explanations by node."""
    answer = await person.call("ExplainExecution", pb.ExplainExecutionRequest(execution_id=execution_id, node_id=node_id))
    return {item.node_id: item for item in answer.nodes}


async def test_a_node_that_did_not_fire_says_what_it_lacks_and_whose_fault_it_is(api: Api, lab: Lab) -> None:
    person = await api.person()
    async with lab.worker():
        created = await person.create(await person.save(GRAPH), X="[1,2,3]")
        await person.watch(created.id)
    nodes = await explain(person, created.id)
    assert list(nodes) == ["in", "step", "words", "sum", "never", "out"]
    assert [(item.status, item.count) for item in nodes["step"].firings] == [(pb.EXECUTION_STATUS_COMPLETED, 1)]
    pins = {pin.pin: pin for pin in nodes["sum"].pins}
    assert [(source.node_id, source.pin, source.firing_count, source.value_count) for source in pins["a"].sources] == [
        ("step", "item", 1, 3)
    ]
    assert (pins["a"].received_count, pins["a"].waiting_count, list(pins["a"].waiting_values)) == (3, 3, ["1", "2", "3"])
    assert [misfit.split(":")[0] for misfit in pins["operation"].misfits] == ["operation"]
    assert pins["b"].constant == "1"
    assert "did not fire" in nodes["sum"].summary
    assert "sum did not fire" in nodes["out"].summary
    assert "sum did not fire" in nodes["never"].summary
    only = await explain(person, created.id, "sum")
    assert only == {"sum": nodes["sum"]}


async def test_an_execution_that_nobody_has_begun_is_explained_too(api: Api, lab: Lab) -> None:
    person, other = await api.person(), await api.person()
    created = await person.create(await person.save(chain(1)), X="1")
    nodes = await explain(person, created.id)
    assert nodes["in"].firings[0].status == pb.EXECUTION_STATUS_QUEUED
    async with refused(grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND"):
        await explain(person, created.id, "nowhere")
    async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await explain(other, created.id)


async def test_an_explanation_follows_the_run_and_is_kept_once_that_has_ended(api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await api.person()
    created = await person.create(await person.save(chain(2)), X="1")
    before = await explain(person, created.id, "n1")
    async with lab.worker():
        await person.watch(created.id)
    after = await explain(person, created.id, "n1")
    assert "did not fire" in before["n1"].summary
    assert "fired once" in after["n1"].summary

    async def never(self: Explanations, record: Record) -> None:
        raise AssertionError("the journal was folded again")

    monkeypatch.setattr(Explanations, "_folded", never)
    assert await explain(person, created.id, "n1") == after


async def test_a_large_graph_is_explained_as_a_whole_and_node_by_node(api: Api, lab: Lab) -> None:
    person = await api.person()
    count = 400
    pins = {f"values_#_{at}": "x" * 150 for at in range(40)}
    nodes = [node("in", INPUT, name="X"), *(node(f"keep{at}", STORE, data=1, **pins) for at in range(count))]
    created = await person.create(await person.save(document(nodes, [link("in.result", f"keep{at}.input") for at in range(count)])), X="1")
    whole = await explain(person, created.id)
    assert len(whole) == count + 1
    assert not any(pin.constant for item in whole.values() for pin in item.pins)
    (one,) = (await explain(person, created.id, "keep7")).values()
    assert {len(pin.constant) for pin in one.pins if pin.pin in pins} == {152}


async def test_a_long_execution_is_explained_without_holding_up_the_others(api: Api, lab: Lab) -> None:
    person = await api.person()
    lanes = 10
    nodes = [node("in", INPUT, name="X"), node("step", STEP), *(node(f"keep{at}", STORE) for at in range(lanes))]
    links = [link("in.result", "step.items"), *(link("step.item", f"keep{at}.input") for at in range(lanes))]
    async with lab.worker():
        created = await person.create(await person.save(document(nodes, links)), X=jsontext.dumps(list(range(5000))))
        await lab.until(lambda: person.call("GetExecution", pb.GetExecutionRequest(execution_id=created.id)), has_ended, 60)
    begin = time.perf_counter()
    found = await explain(person, created.id)
    print(f"explained {5000 * lanes} firings in {time.perf_counter() - begin:.2f} s")
    assert found["keep9"].firings[0].count == 5000


def has_ended(answer: pb.GetExecutionResponse) -> bool:
    """Whether the execution has ended."""
    return bool(answer.execution.HasField("end_time"))
