"""Runs that wait for a person, a time, another run or their next attempt: without a worker, through restarts, and to the right end."""

import json
import signal
import time
from typing import Any

import pytest

from services.execution.engine.events import EventKind
from services.execution.lines import Line
from services.execution.repository.signals import Signal, Signals
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import CALCULATOR, INPUT, OUTPUT, STEP, TIMER, TOUCH, document, link, node
from tests.integration.execution.touch import Touches

REVIEW = "8b2a7b3c-6e9d-4a5f-8c1b-2e3f4a5b6c7d"
AGENT = "e189baac-8c20-45a1-94a7-55177ea42565"
DELAY = "5d3f0d0e-6d7c-4c62-9a7b-1f5f0f0c4f1a"
YES = {"approved": True, "data": "changed", "message": "fine"}
NO = {"approved": False, "data": None, "message": ""}


def line_of(block_id: str, sink_pin: str, source_pin: str, **constants: Any) -> dict[str, Any]:
    """Input X, one node, output R."""
    nodes = [node("in", INPUT, name="X"), node("n", block_id, **constants), node("out", OUTPUT, name="R")]
    return document(nodes, [link("in.result", f"n.{sink_pin}"), link(f"n.{source_pin}", "out.value")])


def reviewed() -> dict[str, Any]:
    """What is approved goes to R, what is rejected to N."""
    graph = line_of(REVIEW, "data", "approved_data", name="Check")
    graph["nodes"].append(node("no", OUTPUT, name="N"))
    graph["links"].append(link("n.rejected_data", "no.value"))
    return graph


def kinds(lines: list[Line]) -> list[str]:
    return [EventKind(line.kind).name for line in lines]


async def parked(lab: Lab, execution_id: str) -> Any:
    """The row once nobody holds the run."""
    query = "SELECT status, worker_id, lease_until, wake_time, last_seq FROM execution WHERE id = $1"
    return await lab.until(
        lambda: lab.pool.fetchrow(query, execution_id),
        lambda row: row["lease_until"] is None and row["worker_id"] == "" and row["status"] != "QUEUED",
    )


async def decide(lab: Lab, execution_id: str, answer: Any, firing: int | None = None, wait: int = 0) -> None:
    """Answers a review as the API does."""
    if firing is None:
        lines = await lab.journal(execution_id)
        firing = [line.firing for line in lines if line.kind == EventKind.NODE_REVIEW][-1]
    await Signals(lab.pool).send([(execution_id, Signal(firing, wait, json.dumps(answer)))])


async def outputs(lab: Lab, execution_id: str) -> Any:
    record = await lab.ended(execution_id)
    assert record.status == "COMPLETED", record.error
    return json.loads(record.outputs)


async def test_a_review_parks_the_run_and_the_decision_wakes_it(lab: Lab) -> None:
    async with lab.worker() as worker:
        execution_id = await lab.start(reviewed(), X="text")
        assert (await parked(lab, execution_id))["status"] == "REVIEW"
        await lab.until(lambda: _held(worker), lambda held: not held)
        await decide(lab, execution_id, YES)
        assert await outputs(lab, execution_id) == {"R": ["changed"]}
    lines = await lab.journal(execution_id)
    asked = next(line for line in lines if line.kind == EventKind.NODE_REVIEW)
    assert json.loads(bytes(asked.value)) == {"for": "review", "message": "Check", "data": "text", "is_editable": True}
    told = next(line for line in lines if line.kind == EventKind.NODE_RESUMED)
    assert json.loads(bytes(told.value)) == YES
    assert kinds(lines).count("EXECUTION_REVIEW") == 1
    assert kinds(lines).count("NODE_STARTED") == 3


async def _held(worker: Any) -> Any:
    return worker._holder.manager.held


async def test_rejected_data_goes_out_on_its_own_pin(lab: Lab) -> None:
    async with lab.worker():
        execution_id = await lab.start(reviewed(), X="text")
        await parked(lab, execution_id)
        await decide(lab, execution_id, NO)
        assert await outputs(lab, execution_id) == {"N": ["text"]}


async def test_approval_for_the_future_spares_later_questions_of_the_node(lab: Lab) -> None:
    graph = reviewed()
    graph["nodes"].append(node("step", STEP))
    graph["links"][0] = link("in.result", "step.items")
    graph["links"].append(link("step.item", "n.data"))
    async with lab.worker():
        execution_id = await lab.start(graph, X=[1, 2])
        await parked(lab, execution_id)
        reviews = [line.firing for line in await lab.journal(execution_id) if line.kind == EventKind.NODE_REVIEW]
        assert len(reviews) == 2
        await decide(lab, execution_id, {**YES, "data": 1, "auto_approve_future": True}, reviews[0])
        # The second was asked already, so it still waits.
        row = await parked(lab, execution_id)
        assert row["status"] == "REVIEW"
        await decide(lab, execution_id, {**YES, "data": 2}, reviews[1])
        assert await outputs(lab, execution_id) == {"R": [1, 2]}


async def test_a_delay_outlives_all_workers_and_is_not_cut_short(lab: Lab) -> None:
    with lab.worker_process() as doomed:
        execution_id = await lab.start(line_of(DELAY, "input", "output", seconds=3), X=5)
        row = await parked(lab, execution_id)
        assert (row["status"], row["wake_time"] is not None) == ("RUNNING", True)
        doomed.send_signal(signal.SIGKILL)
    async with lab.worker():
        assert await outputs(lab, execution_id) == {"R": [5]}
    lines = await lab.journal(execution_id)
    began, ended = (next(line for line in lines if line.kind == kind) for kind in (EventKind.NODE_WAITING, EventKind.NODE_RESUMED))
    assert (ended.time_us - began.time_us) / 1e6 >= 3.0


async def test_a_short_wait_keeps_its_worker_and_a_countdown_repeats(lab: Lab) -> None:
    async with lab.worker():
        began = time.monotonic()
        graph = line_of(TIMER, "input_message", "output_message", seconds=1, repeat=2)
        execution_id = await lab.start(graph, X="tick")
        assert await outputs(lab, execution_id) == {"R": ["tick", "tick"]}
        assert time.monotonic() - began >= 2.0
    assert "EXECUTION_RESUMED" not in kinds(await lab.journal(execution_id))


def failing(**metadata: Any) -> dict[str, Any]:
    """A node that always fails, with an output before."""
    graph = line_of("flaky", "value", "value")
    graph["nodes"][1]["metadata"] = metadata
    graph["nodes"].append(node("err", OUTPUT, name="E"))
    graph["links"].append(link("n.error", "err.value"))
    return graph


async def test_a_failed_firing_is_tried_again_and_what_it_emitted_stands(lab: Lab, touches: Touches) -> None:
    graph = failing(retry={"attempts": 5, "backoff_s": 0.1})
    async with lab.worker():
        execution_id = await lab.start(graph, X=3)
        # It fails until it is tried for the third time; each try emits "partial" before.
        assert await outputs(lab, execution_id) == {"R": ["partial", "done"]}
    lines = await lab.journal(execution_id)
    waits = [json.loads(bytes(line.value)) for line in lines if line.kind == EventKind.NODE_WAITING]
    assert [(wait["for"], wait["attempt"]) for wait in waits] == [("retry", 1), ("retry", 2)]
    assert [line.error for line in lines if line.kind == EventKind.NODE_WAITING] == ["not yet", "not yet"]
    assert len(touches.firings()) == 3


async def test_attempts_end_and_other_errors_get_none(lab: Lab, touches: Touches) -> None:
    async with lab.worker():
        first = await lab.start(failing(retry={"attempts": 2, "backoff_s": 0}), X=3)
        assert await outputs(lab, first) == {"R": ["partial"], "E": ["not yet"]}
        other = await lab.start(failing(retry={"attempts": 5, "backoff_s": 0, "on": ["something else"]}), X=3)
        assert await outputs(lab, other) == {"R": ["partial"], "E": ["not yet"]}
    assert len(touches.firings()) == 2 + 1


async def test_a_node_has_its_own_time_limit(lab: Lab, touches: Touches) -> None:
    graph = line_of(TOUCH, "value", "value", seconds=30)
    graph["nodes"][1]["metadata"] = {"timeout_s": 0.3}
    graph["nodes"].append(node("err", OUTPUT, name="E"))
    graph["links"].append(link("n.error", "err.value"))
    async with lab.worker():
        assert await outputs(lab, await lab.start(graph, X=1)) == {"E": ["the node ran longer than 0.3 s"]}


@pytest.mark.parametrize(("answer", "expected", "runs"), [(YES, {"R": [1]}, 2), (NO, {}, 1)])
async def test_a_person_decides_about_a_firing_that_was_cut_off(
    lab: Lab, touches: Touches, answer: dict[str, Any], expected: dict[str, Any], runs: int
) -> None:
    graph = line_of(TOUCH, "value", "value", seconds=1)
    graph["nodes"][1]["metadata"] = {"on_interrupt": "ask"}
    with lab.worker_process() as doomed:
        execution_id = await lab.start(graph, X=1)
        await lab.until(touches.some, bool)
        doomed.send_signal(signal.SIGKILL)
    async with lab.worker():
        await lab.until(lambda: lab.get(execution_id), lambda record: record.status == "REVIEW")
        await decide(lab, execution_id, answer)
        assert await outputs(lab, execution_id) == expected
    assert len(touches.firings()) == runs


def doubling() -> dict[str, Any]:
    """Puts out Y = 2 X."""
    nodes = [node("in", INPUT, name="X"), node("dbl", CALCULATOR, operation="Multiply", b=2), node("res", OUTPUT, name="Y")]
    return document(nodes, [link("in.result", "dbl.a"), link("dbl.result", "res.value")])


def calling(graph_id: str, **more: Any) -> dict[str, Any]:
    """Calls another agent for each item of L."""
    nodes = [
        node("l", INPUT, name="L"),
        node("st", STEP),
        node("ag", AGENT, graph_id=graph_id, graph_version=1, **more),
        node("o", OUTPUT, name="O"),
        node("e", OUTPUT, name="E"),
    ]
    links = [link("l.result", "st.items"), link("st.item", "ag.X"), link("ag.Y", "o.value"), link("ag.error", "e.value")]
    return document(nodes, links)


async def test_another_agent_runs_once_per_item_as_an_execution_of_its_own(lab: Lab) -> None:
    child_graph = await lab.graph(doubling())
    async with lab.worker():
        execution_id = await lab.start(calling(child_graph), L=[1, 2])
        assert await outputs(lab, execution_id) == {"O": [2.0, 4.0]}
    children = await lab.pool.fetch("SELECT status, depth FROM execution WHERE parent_id = $1", execution_id)
    assert [tuple(row) for row in children] == [("COMPLETED", 1)] * 2
    assert json.loads((await lab.get(execution_id)).stats)["node_count"] == 12


async def test_a_child_that_was_stopped_comes_out_of_the_error_pin(lab: Lab) -> None:
    child_graph = await lab.graph(line_of(DELAY, "input", "output", seconds=600))
    async with lab.worker():
        execution_id = await lab.start(calling(child_graph), L=[1])
        query = "SELECT id::text FROM execution WHERE parent_id = $1 AND status = 'RUNNING' AND worker_id = ''"
        child_id = await lab.until(lambda: lab.pool.fetchval(query, execution_id), bool)
        await parked(lab, execution_id)
        await lab.cancellation.cancel(await lab.get(child_id), 5.0)
        assert await outputs(lab, execution_id) == {"E": ["The agent did not complete: its status is TERMINATED"]}


async def test_a_parent_that_is_stopped_stops_its_children(lab: Lab) -> None:
    child_graph = await lab.graph(line_of(DELAY, "input", "output", seconds=600))
    async with lab.worker():
        execution_id = await lab.start(calling(child_graph), L=[1])
        query = "SELECT id::text FROM execution WHERE parent_id = $1 AND status = 'RUNNING' AND worker_id = ''"
        child_id = await lab.until(lambda: lab.pool.fetchval(query, execution_id), bool)
        await parked(lab, execution_id)
        await lab.cancellation.cancel(await lab.get(execution_id), 5.0)
        assert (await lab.ended(execution_id)).status == "TERMINATED"
        assert (await lab.ended(child_id)).status == "TERMINATED"


async def test_an_agent_that_is_not_there_fails_its_node_only(lab: Lab) -> None:
    async with lab.worker():
        execution_id = await lab.start(calling("nowhere"), L=[1])
        (error,) = (await outputs(lab, execution_id))["E"]
    assert "nowhere" in error


async def test_a_dry_run_asks_nobody_has_no_effect_and_emits_what_nodes_declare(lab: Lab, touches: Touches) -> None:
    graph = line_of(TOUCH, "value", "value")
    graph["nodes"][1]["metadata"] = {"stub_outputs": [["value", "stub"]]}
    graph["nodes"].append(node("rev", REVIEW, name="Check"))
    graph["links"][-1] = link("n.value", "rev.data")
    graph["links"].append(link("rev.approved_data", "out.value"))
    async with lab.worker():
        accepted = await lab.create(await lab.graph(graph), dry_run=True, X=1)
        assert await outputs(lab, accepted.record.id) == {"R": ["stub"]}
    assert touches.firings() == []


async def test_a_run_that_is_at_work_too_long_fails_and_says_so(lab: Lab) -> None:
    async with lab.worker(max_run_s=0.5):
        record = await lab.ended(await lab.start(line_of("pause", "value", "value", seconds=30), X=1))
    assert (record.status, record.error) == ("FAILED", "the run was at work longer than 0.5 s")


async def test_a_pure_node_that_emits_without_end_is_stopped_by_its_time_limit(lab: Lab) -> None:
    graph = line_of("spin", "value", "value")
    graph["nodes"][1]["metadata"] = {"timeout_s": 0.2}
    graph["nodes"][2] = node("err", OUTPUT, name="E")
    graph["links"][1] = link("n.error", "err.value")
    async with lab.worker(max_emissions=10_000_000):
        assert await outputs(lab, await lab.start(graph, X=1)) == {"E": ["the node ran longer than 0.2 s"]}


async def test_an_answer_that_comes_with_a_cancel_is_not_taken(lab: Lab) -> None:
    """As a child answers that was cancelled with its parent, which a busy worker has not heard of yet."""
    graph = reviewed()
    graph["nodes"].append(node("busy", TOUCH, seconds=60))
    graph["links"].append(link("in.result", "busy.value"))
    async with lab.worker(heartbeat_s=1.2):
        execution_id = await lab.start(graph, X="text")
        await lab.until(lambda: lab.journal(execution_id), lambda lines: "NODE_REVIEW" in kinds(lines))
        await lab.pool.execute("UPDATE execution SET cancel_requested = true WHERE id = $1", execution_id)
        lines = await lab.journal(execution_id)
        asked = next(line for line in lines if line.kind == EventKind.NODE_REVIEW)
        await lab.notices.signalled(await lab.signals.send([(execution_id, Signal(asked.firing, 0, json.dumps(YES)))]))
        assert (await lab.ended(execution_id)).status == "TERMINATED"
    assert "NODE_RESUMED" not in kinds(await lab.journal(execution_id))
