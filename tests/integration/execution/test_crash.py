"""Workers that die, stop and stall: every run completes, and nothing is recorded twice."""

import asyncio
import signal
import time
from collections import Counter

import pytest

from services.execution.engine.events import EventKind
from services.execution.engine.state import Firing
from services.execution.worker.run import Run
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import DRIP, PAUSE, TOUCH, chain
from tests.integration.execution.touch import Touches

ENDS = {EventKind.NODE_COMPLETED, EventKind.NODE_FAILED}


async def check(lab: Lab, execution_id: str, nodes: int) -> bool:
    """The run completed, each firing with one end and each output once. True when it was resumed."""
    record = await lab.ended(execution_id)
    lines = await lab.journal(execution_id)
    assert record.status == "COMPLETED", record.error
    assert record.last_seq == len(lines)
    assert [line.kind for line in lines].count(EventKind.EXECUTION_COMPLETED) == 1
    ends = Counter(line.firing for line in lines if line.kind in ENDS)
    assert len(ends) == nodes
    assert set(ends.values()) == {1}
    outputs = Counter((line.firing, line.ordinal) for line in lines if line.kind == EventKind.NODE_OUTPUT)
    assert set(outputs.values()) == {1}
    return any(line.kind == EventKind.EXECUTION_RESUMED for line in lines)


async def running(lab: Lab, ids: list[str], least_seq: int) -> None:
    """Waits until some of the runs are well under way."""
    query = "SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND status = 'RUNNING' AND last_seq > $2"
    await lab.until(lambda: lab.pool.fetchval(query, ids, least_seq), lambda count: count > len(ids) // 4)


async def test_fifty_runs_survive_the_kill_of_their_worker(lab: Lab) -> None:
    graph_id = await lab.graph(chain(20, PAUSE, seconds=0.05))
    with lab.worker_process() as doomed:
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(50)]
        await running(lab, ids, 8)
        doomed.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        async with lab.worker():
            resumed = [await check(lab, execution_id, 22) for execution_id in ids]
    assert any(resumed)
    assert [(await lab.get(execution_id)).outputs for execution_id in ids] == [f'{{"R":[{at}]}}' for at in range(50)]
    # All leases ran out within lease_s of the kill, and the sweep follows: the rest is the runs' own time.
    assert time.monotonic() - killed < 15


async def test_a_generator_goes_on_where_it_was_cut_off(lab: Lab) -> None:
    with lab.worker_process() as doomed:
        execution_id = await lab.start(chain(1, DRIP, seconds=0.1), X=30)
        await lab.until(lambda: lab.get(execution_id), lambda record: record.last_seq > 20)
        doomed.send_signal(signal.SIGKILL)
        async with lab.worker():
            assert await check(lab, execution_id, 32)
    lines = await lab.journal(execution_id)
    starts = [(line.firing, line.ordinal) for line in lines if line.kind == EventKind.NODE_STARTED and line.ordinal > 0]
    assert len(starts) == 1
    assert (await lab.get(execution_id)).outputs == f'{{"R":{list(range(30))}}}'.replace(" ", "")


async def test_an_effect_that_was_cut_off_is_reported_not_repeated(lab: Lab, touches: Touches) -> None:
    with lab.worker_process() as doomed:
        execution_id = await lab.start(chain(1, TOUCH, seconds=60), X="v")
        await lab.until(touches.some, bool)
        doomed.send_signal(signal.SIGKILL)
        async with lab.worker():
            record = await lab.ended(execution_id)
    assert (record.status, record.outcome) == ("COMPLETED", "COMPLETED_WITH_ERRORS")
    assert len(touches.firings()) == 1
    (failed,) = [line for line in await lab.journal(execution_id) if line.kind == EventKind.NODE_FAILED]
    assert "interrupted" in failed.error


async def test_sigterm_hands_runs_over_at_once(lab: Lab) -> None:
    slow = {"lease_s": 60.0}
    graph_id = await lab.graph(chain(20, PAUSE, seconds=0.05))
    with lab.worker_process(**slow) as leaving:
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(10)]
        await running(lab, ids, 8)
        async with lab.worker(**slow):
            leaving.terminate()
            resumed = [await check(lab, execution_id, 22) for execution_id in ids]
            assert await asyncio.to_thread(leaving.wait, 10) == 0
    assert any(resumed)


async def test_sigterm_lets_an_effect_end(lab: Lab, touches: Touches) -> None:
    with lab.worker_process() as leaving:
        execution_id = await lab.start(chain(2, TOUCH, seconds=0.7), X="v")
        await lab.until(touches.some, bool)
        leaving.terminate()
        async with lab.worker():
            record = await lab.ended(execution_id)
    assert record.outcome == "SUCCEEDED"
    assert len(touches.firings()) == 2


async def test_a_worker_that_stalls_is_fenced_off(lab: Lab) -> None:
    graph_id = await lab.graph(chain(20, PAUSE, seconds=0.05))
    with lab.worker_process() as stalled:
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(10)]
        await running(lab, ids, 8)
        stalled.send_signal(signal.SIGSTOP)
        async with lab.worker():
            resumed = [await check(lab, execution_id, 22) for execution_id in ids]
            stalled.send_signal(signal.SIGCONT)
            last = [(await lab.get(execution_id)).last_seq for execution_id in ids]
            # The stalled worker finds out by itself and stays of use.
            again = await lab.start(chain(3), X=1)
            await check(lab, again, 5)
        assert any(resumed)
        assert last == [(await lab.get(execution_id)).last_seq for execution_id in ids]
        assert stalled.poll() is None


async def test_a_lost_message_costs_time_only(lab: Lab) -> None:
    graph_id = await lab.graph(chain(3))
    lab.notices.bell.bus = None
    execution_id = (await lab.create(graph_id, X=1)).record.id
    async with lab.worker():
        await check(lab, execution_id, 5)


async def test_a_run_that_kills_its_workers_is_given_up(lab: Lab) -> None:
    execution_id = await lab.start(chain(1), X=1)
    await lab.pool.execute("UPDATE execution SET attempts = 5 WHERE id = $1", execution_id)
    async with lab.worker():
        record = await lab.ended(execution_id)
    assert record.status == "FAILED"
    assert "given up" in record.error


async def test_a_firing_that_is_let_go_before_it_begins_keeps_nobody(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = Run._spawn

    def stop_at_once(run: Run, firing: Firing) -> None:
        spawn(run, firing)
        run.stop()

    monkeypatch.setattr(Run, "_spawn", stop_at_once)
    async with lab.worker(drain_s=30) as worker:
        await lab.start(chain(1, PAUSE, seconds=60), X=1)
        query = "SELECT count(*) FROM execution WHERE owner_id = $1 AND status = 'RUNNING'"
        await lab.until(lambda: lab.pool.fetchval(query, lab.owner), bool)
        await lab.until(lambda: asyncio.sleep(0, worker._holder.manager.held), lambda held: not held, within_s=5)
