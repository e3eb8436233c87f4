"""Runs that wait, on real workers: what they leave behind, how they end, and what survives the worker."""

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.execution.engine.events import EventKind
from services.execution.repository.claims import Claims
from services.execution.repository.leases import Claim
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT as AGENT_INPUT
from tests.integration.execution.graphs import OUTPUT as AGENT_OUTPUT
from tests.integration.execution.graphs import TOUCH, chain, document, link, node
from tests.integration.execution.test_parking import child_of, parked
from tests.integration.execution.touch import Touches

AGENT = "e189baac-8c20-45a1-94a7-55177ea42565"
DELAY = "5d3f0d0e-6d7c-4c62-9a7b-1f5f0f0c4f1a"
AN_HOUR = 3600.0


def delayed(seconds: float) -> dict[str, object]:
    """Input X, a delay, output R."""
    nodes = [node("in", AGENT_INPUT, name="X"), node("wait", DELAY, seconds=seconds), node("out", AGENT_OUTPUT, name="R")]
    return document(nodes, [link("in.result", "wait.input"), link("wait.output", "out.value")])


async def all_parked(lab: Lab, ids: list[str]) -> None:
    """Waits until no worker has any of the runs."""
    query = "SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND status = 'RUNNING' AND worker_id = '' AND wake_time IS NOT NULL"
    await lab.until(lambda: lab.pool.fetchval(query, ids), lambda count: count == len(ids))


async def test_parked_runs_leave_nothing_in_the_worker_and_end_at_once_when_cancelled(lab: Lab) -> None:
    graph_id = await lab.graph(delayed(AN_HOUR))
    async with lab.worker() as worker:
        await all_parked(lab, [(await lab.create(graph_id, X=1)).record.id])
        tasks = len(asyncio.all_tasks())
        made = await asyncio.gather(*(lab.create(graph_id, X=at) for at in range(300)))
        ids = [accepted.record.id for accepted in made]
        await all_parked(lab, ids)
        await lab.until(lambda: asyncio.sleep(0, worker._holder.manager.held), lambda held: not held)
        await lab.until(lambda: asyncio.sleep(0, len(asyncio.all_tasks())), lambda count: count <= tasks + 5)
        began = time.monotonic()
        for record in await asyncio.gather(*(lab.get(execution_id) for execution_id in ids[:50])):
            assert (await lab.cancellation.cancel(record, 5)).status == "TERMINATED"
        # At once: no sweep and no worker has a part in it.
        assert (time.monotonic() - began) / 50 < 0.2
    lines = await lab.journal(ids[0])
    assert lines[-1].kind == EventKind.EXECUTION_TERMINATED


async def test_a_delay_survives_the_kill_of_every_worker(lab: Lab) -> None:
    graph_id = await lab.graph(delayed(3.0))
    with lab.worker_process() as doomed:
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(10)]
        await all_parked(lab, ids)
        doomed.send_signal(signal.SIGKILL)
    async with lab.worker():
        for at, execution_id in enumerate(ids):
            record = await lab.ended(execution_id)
            assert (record.status, record.outputs) == ("COMPLETED", f'{{"R":[{at}]}}')
            lines = await lab.journal(execution_id)
            (waiting,) = [line for line in lines if line.kind == EventKind.NODE_WAITING]
            (resumed,) = [line for line in lines if line.kind == EventKind.NODE_RESUMED]
            assert 2.9 < (resumed.time_us - waiting.time_us) / 1e6 < 6


async def test_cancel_reaches_a_child_at_work_and_interrupts_its_block(lab: Lab, touches: Touches) -> None:
    parent = await parked(lab)
    child = await child_of(lab, parent)
    slow = await lab.graph(chain(2, TOUCH, seconds=60))
    await lab.pool.execute("UPDATE execution SET graph_id = $2 WHERE id = $1", child, slow)
    async with lab.worker():
        await lab.until(touches.some, bool)
        began = time.monotonic()
        record = await lab.cancellation.cancel(await lab.get(parent.execution_id), 5)
        assert record.status == "TERMINATED"
        assert (await lab.ended(child)).status == "TERMINATED"
        assert time.monotonic() - began < 1
    kinds = [line.kind for line in await lab.journal(child)]
    assert kinds[-2:] == [EventKind.NODE_TERMINATED, EventKind.EXECUTION_TERMINATED]
    assert len(touches.firings()) == 1


async def test_a_run_that_is_to_be_stopped_starts_no_child_and_does_not_fail_for_it(lab: Lab) -> None:
    inner = await lab.graph(chain(1))
    constants = {"graph_id": inner, "graph_version": 1, "user_id": "", "inputs": {"X": 1}, "input_schema": {}, "output_schema": {}}
    parent = await lab.start(document([node("agent", AGENT, **constants)], []))
    # The wish came, and the message about it was lost.
    await lab.pool.execute("UPDATE execution SET cancel_requested = true WHERE id = $1", parent)

    async def claimed_unaware(self: Claims, ids: Sequence[str], **more: Any) -> list[Claim]:
        return [replace(claim, cancel_requested=False) for claim in await claim_as_ever(self, ids, **more)]

    claim_as_ever = Claims.claim
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Claims, "claim", claimed_unaware)
        async with lab.worker():
            record = await lab.ended(parent)
    assert (record.status, record.outcome) == ("TERMINATED", "TERMINATED")
    assert await lab.pool.fetchval("SELECT count(*) FROM execution WHERE parent_id = $1", parent) == 0
