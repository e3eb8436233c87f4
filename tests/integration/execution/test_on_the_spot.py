"""Firings with an effect that never await run on the run's own task, and are held to the same rules as those with one of their own."""

from typing import Any

from services.execution.engine.events import EventKind
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, OUTPUT, STEP, document, link, node
from tests.integration.execution.touch import Touches

ENDLESS = 10**9


def pouring() -> dict[str, Any]:
    """Input X, so many numbers."""
    return document([node("in", INPUT, name="X"), node("pour", "pour")], [link("in.result", "pour.value")])


async def test_it_starts_only_when_its_start_is_durable(lab: Lab, touches: Touches) -> None:
    nodes = [node("in", INPUT, name="X"), node("a", "pour"), node("b", "pour"), node("out", OUTPUT, name="R")]
    graph = document(nodes, [link("in.result", "a.value"), link("a.value", "b.value"), link("b.value", "out.value")])
    async with lab.worker():
        record = await lab.ended(await lab.start(graph, X=3))
    assert record.outputs == '{"R":[0,0,1]}'
    assert len(set(touches.firings())) == len(touches.firings()) == 4
    rows = await lab.pool.fetch("SELECT seq FROM execution_event WHERE execution_id = $1", record.id)
    assert len(rows) >= 4


async def test_it_ends_at_its_time_limit(lab: Lab, touches: Touches) -> None:
    async with lab.worker(node_timeout_s=0.1, max_emissions=ENDLESS):
        record = await lab.ended(await lab.start(pouring(), X=ENDLESS))
    last = [line for line in await lab.journal(record.id) if line.kind == EventKind.NODE_FAILED]
    assert [line.error for line in last] == ["the node ran longer than 0.1 s"]


async def test_it_can_be_cancelled(lab: Lab, touches: Touches) -> None:
    async with lab.worker(max_emissions=ENDLESS):
        execution_id = await lab.start(pouring(), X=ENDLESS)
        await lab.until(touches.some, bool)
        await lab.cancellation.cancel(await lab.get(execution_id), 10)
        record = await lab.ended(execution_id)
    assert record.status == "TERMINATED"
    assert (await lab.journal(execution_id))[-2].kind == EventKind.NODE_TERMINATED


async def test_a_worker_that_stops_lets_it_end(lab: Lab, touches: Touches) -> None:
    async with lab.worker():
        execution_id = await lab.start(pouring(), X=20_000)
        await lab.until(touches.some, bool)
    kinds = [line.kind for line in await lab.journal(execution_id)]
    assert kinds.count(EventKind.NODE_OUTPUT) == 20_001
    assert kinds.count(EventKind.NODE_COMPLETED) == 2
    async with lab.worker():
        record = await lab.ended(execution_id)
    assert record.outcome == "SUCCEEDED"
    assert len(touches.firings()) == 1


async def test_no_more_of_them_are_at_work_than_may_be(lab: Lab, touches: Touches) -> None:
    nodes = [node("in", INPUT, name="L"), node("each", STEP), node("pour", "pour")]
    graph = document(nodes, [link("in.result", "each.items"), link("each.item", "pour.value")])
    async with lab.worker(max_parallel_nodes=2):
        record = await lab.ended(await lab.start(graph, L=[1] * 10))
    assert record.outcome == "SUCCEEDED"
    assert len(set(touches.firings())) == 10
    pours: set[int] = set()
    for line in await lab.journal(record.id):
        if line.kind == EventKind.NODE_STARTED and line.node == 2:
            pours.add(line.firing)
        elif line.kind == EventKind.NODE_COMPLETED:
            pours.discard(line.firing)
        assert len(pours) <= 2
