"""What callers read of an execution: events from either end, firings by page, values kept apart, why it waits."""

import time
from hashlib import sha256
from typing import Any

import grpc
import pytest
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import jsontext
from services.execution.firing_index import FiringIndex
from services.execution.lines import Line
from tests.integration.execution.api import Api, Person, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import CALCULATOR, INPUT, OUTPUT, STEP, STORE, chain, document, link, node

LARGE = 100_000


def generator(lanes: int) -> dict[str, Any]:
    """A generator over input X whose values each of `lanes` nodes keeps."""
    nodes = [node("in", INPUT, name="X"), node("step", STEP), *(node(f"keep{at}", STORE) for at in range(lanes))]
    return document(nodes, [link("in.result", "step.items"), *(link("step.item", f"keep{at}.input") for at in range(lanes))])


async def backward(person: Person, execution_id: str, page_size: int, before_seq: int, after_seq: int = 0) -> list[pb.Event]:
    """All events between two seqs, page by page from the end."""
    found: list[pb.Event] = []
    token = ""
    while True:
        request = pb.ListExecutionEventsRequest(
            execution_id=execution_id, before_seq=before_seq, after_seq=after_seq, page_size=page_size, page_token=token
        )
        answer = await person.call("ListExecutionEvents", request)
        assert len(answer.events) <= page_size
        found = [*answer.events, *found]
        token = answer.next_page_token
        if not token:
            return found


async def firings(person: Person, execution_id: str, page_size: int = 0, node_id: str = "") -> list[pb.NodeExecution]:
    """All firings, page by page."""
    found: list[pb.NodeExecution] = []
    token = ""
    while True:
        request = pb.ListNodeExecutionsRequest(execution_id=execution_id, page_size=page_size, node_id=node_id, page_token=token)
        answer = await person.call("ListNodeExecutions", request)
        found += answer.node_executions
        token = answer.next_page_token
        if not token:
            return found


async def test_events_page_backward_from_any_point(api: Api, lab: Lab) -> None:
    person = await api.person()
    execution_id = (await person.create(await person.save(chain(10)), X="1")).id
    async with lab.worker():
        events = await person.watch(execution_id)
    last = events[-1].seq
    for size in (1, 7, 1000):
        assert await backward(person, execution_id, size, 2**31 - 1) == events
    assert await backward(person, execution_id, 5, 20) == events[:19]
    assert await backward(person, execution_id, 5, 20, 7) == events[7:19]
    assert await backward(person, execution_id, 5, 1) == []
    assert await backward(person, execution_id, 5, last + 1, last) == []
    newest = await person.call(
        "ListExecutionEvents", pb.ListExecutionEventsRequest(execution_id=execution_id, before_seq=last + 1, page_size=3)
    )
    assert list(newest.events) == events[-3:]
    # The token alone knows the direction and the other end.
    token = newest.next_page_token
    request = pb.ListExecutionEventsRequest(execution_id=execution_id, page_size=3, page_token=token)
    older = await person.call("ListExecutionEvents", request)
    assert list(older.events) == events[-6:-3]


async def test_large_events_come_backward_in_pages_that_fit(api: Api, lab: Lab) -> None:
    person = await api.person()
    nodes = [node("in", INPUT, name="X"), *(node(f"keep{at}", STORE) for at in range(40))]
    links = [link("in.result", "keep0.input"), *(link(f"keep{at}.output", f"keep{at + 1}.input") for at in range(39))]
    async with lab.worker():
        created = await person.create(await person.save(document(nodes, links)), X=jsontext.dumps("ü" * 32_000))
        events = await person.watch(created.id)
    assert await backward(person, created.id, 1000, 2**31 - 1) == events


async def test_firings_have_their_values_in_every_page_size(api: Api, lab: Lab) -> None:
    person = await api.person()
    async with lab.worker():
        created = await person.create(await person.save(generator(2)), X="[10,20,30]")
        await person.watch(created.id)
    whole = await firings(person, created.id)
    assert [firing.node_id for firing in whole] == ["in", "step", "keep0", "keep1", "keep0", "keep1", "keep0", "keep1"]
    assert all(firing.status == pb.EXECUTION_STATUS_COMPLETED and firing.HasField("end_time") for firing in whole)
    step = whole[1]
    assert [(item.pin, item.value.json) for item in step.outputs][:2] == [("item", "10"), ("key", "0")]
    assert step.output_count == len(step.outputs) == 6
    assert jsontext.loads(whole[4].inputs.json)["input"] == 20
    for size in (1, 3):
        assert await firings(person, created.id, size) == whole
    assert await firings(person, created.id, 2, "keep1") == [firing for firing in whole if firing.node_id == "keep1"]
    async with refused(grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND"):
        await firings(person, created.id, node_id="nowhere")


async def test_firings_follow_a_run_at_work(api: Api, lab: Lab) -> None:
    person = await api.person()
    created = await person.create(await person.save(chain(2)), X="1")
    queued = await firings(person, created.id)
    assert [(firing.node_id, firing.status) for firing in queued] == [("in", pb.EXECUTION_STATUS_QUEUED)]
    assert jsontext.loads(queued[0].inputs.json)["value"] == 1
    async with lab.worker():
        await person.watch(created.id)
    ended = await firings(person, created.id)
    assert [firing.node_id for firing in ended] == ["in", "n0", "n1", "out"]
    assert {firing.status for firing in ended} == {pb.EXECUTION_STATUS_COMPLETED}
    assert ended[0].id == queued[0].id


async def test_firings_that_fail_and_that_lack_a_value_say_why(api: Api, lab: Lab) -> None:
    person = await api.person()
    nodes = [
        node("in", INPUT, name="X"),
        node("late", INPUT, name="Y"),
        node("fail", CALCULATOR, operation="Divide", b=0),
        node("sum", CALCULATOR, operation="Add"),
    ]
    links = [link("in.result", "fail.a"), link("in.result", "sum.a"), link("late.result", "sum.b")]
    async with lab.worker():
        created = await person.create(await person.save(document(nodes, links)), X="3")
        await person.watch(created.id)
    found = {firing.node_id: firing for firing in await firings(person, created.id)}
    assert found["sum"].status == pb.EXECUTION_STATUS_INCOMPLETE
    assert found["sum"].inputs.json == '{"a":3}'
    assert found["sum"].error == "no value arrived at b"
    execution = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=created.id))).execution
    assert [list(blocked.pins_missing) for blocked in execution.stats.blocked] == [["b"]]


async def test_a_generators_firing_shows_its_first_outputs_and_counts_all(api: Api, lab: Lab) -> None:
    person = await api.person()
    async with lab.worker():
        created = await person.create(await person.save(generator(0)), X=jsontext.dumps(list(range(500))))
        await person.watch(created.id)
    (step,) = await firings(person, created.id, node_id="step")
    assert (len(step.outputs), step.output_count) == (100, 1000)


async def test_large_values_are_told_by_their_hash_and_fetched_whole(api: Api, lab: Lab) -> None:
    person, other = await api.person(), await api.person()
    nodes = [node("in", INPUT, name="X"), node("keep", STORE), node("out", OUTPUT, name="R")]
    graph_id = await person.save(document(nodes, [link("in.result", "keep.input"), link("keep.output", "out.value")]))
    content = jsontext.dumps({"z": "ü" * 50_000, "a": 2**70})
    async with lab.worker():
        created = await person.create(graph_id, X=content)
        events = await person.watch(created.id)
    given = [event for event in events if event.kind == pb.EVENT_KIND_NODE_OUTPUT and event.pin in ("result", "output")]
    digest = sha256(content.encode()).hexdigest()
    assert {(event.value_ref.sha256, event.value_ref.size_bytes, event.HasField("value")) for event in given} == {
        (digest, len(content.encode()), False)
    }
    assert await person.events(created.id, 1000) == events
    assert await person.watch(created.id) == events
    assert max(event.ByteSize() for event in events) < 1000
    request = pb.GetExecutionValueRequest(execution_id=created.id, sha256=digest)
    assert (await person.call("GetExecutionValue", request)).value.json == content
    (keep,) = await firings(person, created.id, node_id="keep")
    assert (keep.outputs[0].value_ref.sha256, keep.outputs[0].HasField("value")) == (digest, False)
    inputs = pb.GetExecutionValueRequest(execution_id=created.id, sha256=keep.inputs_ref.sha256)
    assert jsontext.loads((await person.call("GetExecutionValue", inputs)).value.json)["input"] == jsontext.loads(content)
    execution = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=created.id))).execution
    assert execution.outputs["R"].json == f"[{content}]"
    async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await other.call("GetExecutionValue", request)
    async with refused(grpc.StatusCode.NOT_FOUND, "VALUE_NOT_FOUND"):
        await person.call("GetExecutionValue", pb.GetExecutionValueRequest(execution_id=created.id, sha256="0" * 64))


async def test_a_queued_execution_says_why_it_waits(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id = await person.save(chain(1))
    first, second = [(await person.create(graph_id, X="1")).id for _ in range(2)]
    shown = [(await person.call("GetExecution", pb.GetExecutionRequest(execution_id=made))).execution for made in (first, second)]
    assert [execution.wait_reason for execution in shown] == ["waits for a worker", "waits for a worker; 1 of yours came before it"]
    await lab.pool.execute("UPDATE execution SET status = 'REVIEW' WHERE id = $1", first)
    parked = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=first))).execution
    assert parked.wait_reason == "a person has to decide: see its reviews"
    assert (parked.root_id, parked.parent_id, parked.timezone) == (first, "", "UTC")


async def test_a_time_zone_must_be_one(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id = await person.save(chain(1))
    for name in ("Europe/Atlantis", "../../etc/passwd", "/etc/localtime"):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INPUT_INVALID"):
            await person.call("CreateExecution", pb.CreateExecutionRequest(graph_id=graph_id, timezone=name))
    answer = await person.call("CreateExecution", pb.CreateExecutionRequest(graph_id=graph_id, timezone="Europe/Berlin"))
    assert answer.execution.timezone == "Europe/Berlin"


async def test_a_run_of_100000_firings_pages_from_both_ends(api: Api, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await api.person()
    lanes = 10
    async with lab.worker(max_emissions=10 * LARGE):
        created = await person.create(await person.save(generator(lanes)), X=jsontext.dumps(list(range(LARGE // lanes))))
        record = await lab.until(lambda: person.call("GetExecution", pb.GetExecutionRequest(execution_id=created.id)), is_ended, 120)
    assert record.execution.stats.node_count == LARGE + 2
    folded = count_folded(monkeypatch)
    last = record.execution.last_seq
    times_ms: dict[str, float] = {}
    for name, request in {
        "first events": pb.ListExecutionEventsRequest(execution_id=created.id, page_size=200),
        "last events": pb.ListExecutionEventsRequest(execution_id=created.id, page_size=200, before_seq=last + 1),
        "middle events": pb.ListExecutionEventsRequest(execution_id=created.id, page_size=200, after_seq=last // 2),
    }.items():
        times_ms[name], answer = await timed(person, "ListExecutionEvents", request)
        assert len(answer.events) == 200
    assert not folded
    page = pb.ListNodeExecutionsRequest(execution_id=created.id, page_size=100)
    times_ms["first firings, cold"], answer = await timed(person, "ListNodeExecutions", page)
    assert sum(folded) == last
    page.page_token = answer.next_page_token
    times_ms["next firings"], answer = await timed(person, "ListNodeExecutions", page)
    last_lane = pb.ListNodeExecutionsRequest(execution_id=created.id, page_size=100, node_id="keep9")
    times_ms["firings of a node"], answer = await timed(person, "ListNodeExecutions", last_lane)
    assert sum(folded) == last, "the journal was folded again"
    assert [jsontext.loads(firing.inputs.json)["input"] for firing in answer.node_executions] == list(range(100))
    reviews = pb.ListExecutionReviewsRequest(execution_id=created.id)
    times_ms["reviews"], answer = await timed(person, "ListExecutionReviews", reviews)
    assert not answer.reviews
    print({name: round(value, 1) for name, value in times_ms.items()})
    assert max(value for name, value in times_ms.items() if "cold" not in name) < 500


def is_ended(answer: pb.GetExecutionResponse) -> bool:
    """Whether the execution has ended."""
    return bool(answer.execution.HasField("end_time"))


async def timed(person: Person, rpc: str, request: Any) -> tuple[float, Any]:
    """How long a call takes, in milliseconds, and its answer."""
    begin = time.perf_counter()
    answer = await person.call(rpc, request)
    return (time.perf_counter() - begin) * 1000, answer


def count_folded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by how many events each folded row has."""
    folded: list[int] = []
    add_row = FiringIndex.add_row

    def counting(self: FiringIndex, seq: int, lines: list[Line]) -> None:
        folded.append(len(lines))
        add_row(self, seq, lines)

    monkeypatch.setattr(FiringIndex, "add_row", counting)
    return folded
