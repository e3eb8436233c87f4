"""A run that waits, tries again, runs other agents and gathers comes to the same end wherever it is cut off."""

import json
from collections import Counter
from typing import Any

from services.execution.engine.events import EventKind
from services.execution.lines import Line
from services.execution.repository.executions import Record
from tests.integration.execution.conftest import ENDED, Lab
from tests.integration.execution.graphs import INPUT, OUTPUT, STEP, document, link, node
from tests.integration.execution.test_crash import ENDS
from tests.integration.execution.test_replay import cut, told
from tests.integration.execution.test_waits import AGENT, DELAY, REVIEW, YES, decide, doubling
from tests.integration.execution.touch import Touches

COLLECT = "2c6f8b0a-7c1e-4a43-9a1f-3f0d0f2b9e54"


def everything(child_graph: str) -> dict[str, Any]:
    """Each item waits, is doubled by another agent and gathered; the list is reviewed. Besides, a node fails twice."""
    failing = node("bad", "flaky", value=99)
    failing["metadata"] = {"retry": {"attempts": 2, "backoff_s": 0.02}, "on_interrupt": "retry"}
    nodes = [
        node("in", INPUT, name="L"),
        node("each", STEP),
        node("later", DELAY, seconds=0.05),
        node("agent", AGENT, graph_id=child_graph, graph_version=1),
        node("all", COLLECT),
        node("ask", REVIEW, name="Right?"),
        node("out", OUTPUT, name="R"),
        failing,
        node("err", OUTPUT, name="E"),
    ]
    links = [
        link("in.result", "each.items"),
        link("each.item", "later.input"),
        link("later.output", "agent.X"),
        link("agent.Y", "all.item"),
        link("all.items", "ask.data"),
        link("ask.approved_data", "out.value"),
        link("bad.error", "err.value"),
    ]
    return document(nodes, links)


async def forget_what_followed(lab: Lab, execution_id: str, lines: list[Line]) -> None:
    """Other agents start, and answers come, only after the start of their firing was durable."""
    started = [line.firing for line in lines if line.kind == EventKind.NODE_STARTED]
    await lab.pool.execute("DELETE FROM execution_signal WHERE execution_id = $1 AND firing <> ALL($2::int[])", execution_id, started)
    await lab.pool.execute("DELETE FROM execution WHERE parent_id = $1 AND parent_firing <> ALL($2::int[])", execution_id, started)


async def approved(lab: Lab, execution_id: str) -> Record:
    """The row at the end, after a decision if one is asked for."""
    record = await lab.until(lambda: lab.get(execution_id), lambda record: record.status in {*ENDED, "REVIEW"})
    if record.status == "REVIEW":
        await decide(lab, execution_id, YES)
    return await lab.ended(execution_id)


async def test_after_any_event(lab: Lab, touches: Touches) -> None:
    async with lab.worker(sweep_s=0.02):
        execution_id = await lab.start(everything(await lab.graph(doubling())), L=[1, 2])
        whole = await approved(lab, execution_id)
        lines = await lab.journal(execution_id)
        assert json.loads(whole.outputs) == {"E": ["not yet"], "R": ["changed"]}
        assert {EventKind.NODE_WAITING, EventKind.NODE_REVIEW, EventKind.NODE_RESUMED} <= {line.kind for line in lines}
        for length in range(2, len(lines)):
            await forget_what_followed(lab, execution_id, lines[:length])
            await cut(lab, execution_id, lines[:length])
            again, resumed = await approved(lab, execution_id), await lab.journal(execution_id)
            assert (again.status, json.loads(again.outputs)) == ("COMPLETED", json.loads(whole.outputs)), (
                f"cut after {length}: {again.error}"
            )
            assert told(resumed) == told(lines), f"cut after {length}"
            assert set(Counter(line.firing for line in resumed if line.kind in ENDS).values()) == {1}
    # Other agents were run once for each item, however often their caller was cut off.
    assert await lab.pool.fetchval("SELECT count(*) FROM execution WHERE parent_id = $1", execution_id) == 2
