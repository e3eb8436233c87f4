"""Runs that go on from earlier ones, large values through a restart, and the user's time zone."""

import json
import signal
from dataclasses import replace
from typing import Any

from services.execution.creation import Wanted
from services.execution.engine.events import EventKind
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, OUTPUT, PAUSE, TOUCH, document, link, node
from tests.integration.execution.touch import Touches

DELAY = "5d3f0d0e-6d7c-4c62-9a7b-1f5f0f0c4f1a"
NOW = "716a67b3-6760-42e7-86dc-18645c6e00fc"


def touched_then(second: str, **constants: Any) -> dict[str, Any]:
    """Input X, a touch, another node, output R."""
    nodes = [node("in", INPUT, name="X"), node("n0", TOUCH), node("n1", second, **constants), node("out", OUTPUT, name="R")]
    return document(nodes, [link("in.result", "n0.value"), link("n0.value", "n1.value"), link("n1.value", "out.value")])


async def wanted(lab: Lab, graph: dict[str, Any], **inputs: Any) -> Wanted:
    return Wanted(lab.owner, await lab.graph(graph), 1, json.dumps(inputs), "{}", dry_run=False, request_id="", request_hash="")


async def begin(lab: Lab, wanted: Wanted) -> str:
    accepted = await lab.creation.create(wanted)
    assert accepted.first is not None
    await lab.notices.created(accepted.record, accepted.first)
    return accepted.record.id


async def test_what_completed_is_taken_over_and_the_rest_runs(lab: Lab, touches: Touches) -> None:
    first = await wanted(lab, touched_then(PAUSE, seconds=1), X=5)
    async with lab.worker(node_timeout_s=0.3):
        failed = await lab.ended(await begin(lab, first))
        assert json.loads(failed.stats)["node_error_count"] == 1
    async with lab.worker():
        again = await lab.ended(await begin(lab, replace(first, retry_of=failed.id)))
    assert (again.status, again.outputs) == ("COMPLETED", '{"R":[5]}')
    assert len(touches.firings()) == 1
    kinds = [line.kind for line in await lab.journal(again.id)]
    assert kinds.count(EventKind.NODE_COMPLETED) == 4


async def test_a_retried_run_survives_its_worker_and_takes_nothing_over_twice(lab: Lab, touches: Touches) -> None:
    first = await wanted(lab, touched_then(PAUSE, seconds=2), X=5)
    async with lab.worker(node_timeout_s=0.3):
        failed = await lab.ended(await begin(lab, first))
    with lab.worker_process() as doomed:
        execution_id = await begin(lab, replace(first, retry_of=failed.id))
        await lab.until(lambda: lab.get(execution_id), lambda record: record.last_seq >= 9)
        doomed.send_signal(signal.SIGKILL)
    async with lab.worker():
        again = await lab.ended(execution_id)
    assert (again.status, again.outputs) == ("COMPLETED", '{"R":[5]}')
    assert len(touches.firings()) == 1
    lines = await lab.journal(execution_id)
    outputs = [(line.firing, line.ordinal) for line in lines if line.kind == EventKind.NODE_OUTPUT]
    assert len(outputs) == len(set(outputs))


async def test_large_values_are_kept_once_beside_the_journal_and_survive_a_restart(lab: Lab) -> None:
    nodes = [node("in", INPUT, name="X"), node("d", DELAY, seconds=2), node("out", OUTPUT, name="R")]
    graph = document(nodes, [link("in.result", "d.input"), link("d.output", "out.value")])
    text = "ä" * 100_000
    async with lab.worker():
        execution_id = await lab.start(graph, X=text)
        await lab.until(lambda: lab.pool.fetchval("SELECT lease_until IS NULL FROM execution WHERE id = $1", execution_id), bool)
    async with lab.worker():
        record = await lab.ended(execution_id)
    assert json.loads(record.outputs) == {"R": [text]}
    lines = await lab.journal(execution_id)
    assert {bool(line.ref) for line in lines if line.kind == EventKind.NODE_OUTPUT and line.pin != "name"} == {True}
    assert all(len(bytes(line.value)) < 1000 for line in lines)
    # The text itself, and the inputs of the three nodes around it.
    kept = await lab.pool.fetch("SELECT sha256, size_bytes FROM execution_value WHERE execution_id = $1", execution_id)
    assert len(kept) == 4
    assert min(row["size_bytes"] for row in kept) == len(json.dumps(text, ensure_ascii=False).encode())


async def test_blocks_know_the_time_zone_of_the_user(lab: Lab) -> None:
    zone = {"discriminator": "strftime", "format": "%Z", "use_user_timezone": True}
    nodes = [node("in", INPUT, name="X"), node("now", NOW, format_type=zone), node("out", OUTPUT, name="R")]
    graph = document(nodes, [link("in.result", "now.trigger"), link("now.date_time", "out.value")])
    async with lab.worker():
        record = await lab.ended(await begin(lab, replace(await wanted(lab, graph, X="go"), timezone="Asia/Tokyo")))
    assert record.outputs == '{"R":["JST"]}'
