"""Cancellation of executions that wait and of executions at work."""

import time

import pytest

from services.execution.engine.events import EventKind
from services.execution.repository.entries import Entry, append
from services.execution.repository.letters import DueLetters
from services.execution.worker.aftermath import Aftermath
from services.execution.worker.letters import Letters
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import TIDY, TIMER, TOUCH, chain
from tests.integration.execution.test_journal import claims_of
from tests.integration.execution.touch import Touches


async def test_a_queued_execution_ends_at_once(lab: Lab) -> None:
    execution_id = await lab.start(chain(3), X=1)
    record = await lab.cancellation.cancel(await lab.get(execution_id), 10)
    assert (record.status, record.outcome, record.last_seq) == ("TERMINATED", "TERMINATED", 2)
    async with lab.worker():
        await lab.ended(await lab.start(chain(1), X=1))
    kinds = [line.kind for line in await lab.journal(execution_id)]
    assert kinds == [EventKind.EXECUTION_QUEUED, EventKind.EXECUTION_TERMINATED]


async def test_a_running_execution_is_stopped_by_its_worker(lab: Lab) -> None:
    async with lab.worker():
        execution_id = await lab.start(chain(2, TOUCH, seconds=60), X=1)
        await lab.until(lambda: lab.get(execution_id), lambda record: record.last_seq > 4)
        began = time.monotonic()
        record = await lab.cancellation.cancel(await lab.get(execution_id), 10)
        assert time.monotonic() - began < 1
    assert (record.status, record.outcome) == ("TERMINATED", "TERMINATED")
    kinds = [line.kind for line in await lab.journal(execution_id)]
    assert kinds[-2:] == [EventKind.NODE_TERMINATED, EventKind.EXECUTION_TERMINATED]


async def test_a_block_may_tidy_up_when_its_run_is_cancelled_or_its_worker_stops(lab: Lab, touches: Touches) -> None:
    async with lab.worker(drain_s=0.1):
        cancelled, left = [await lab.start(chain(1, TIDY, seconds=2.0), X=1) for _ in range(2)]
        for execution_id in (cancelled, left):
            await lab.until(lambda: lab.get(execution_id), lambda record: record.last_seq > 5)  # noqa: B023 - called at once
        assert (await lab.cancellation.cancel(await lab.get(cancelled), 10)).status == "TERMINATED"
    await lab.until(touches.some, lambda _: len(touches.firings()) == 2, within_s=5)


async def test_a_lost_cancel_message_is_made_good_by_the_heartbeat(lab: Lab) -> None:
    async with lab.worker():
        execution_id = await lab.start(chain(2, TOUCH, seconds=60), X=1)
        await lab.until(lambda: lab.get(execution_id), lambda record: record.last_seq > 4)
        lab.notices.bell.bus = None
        record = await lab.cancellation.cancel(await lab.get(execution_id), 10)
    assert record.status == "TERMINATED"


async def test_an_ended_execution_is_returned_as_it_is(lab: Lab) -> None:
    async with lab.worker():
        before = await lab.ended(await lab.start(chain(1), X=1))
    assert await lab.cancellation.cancel(before, 10) == before


async def test_a_timer_does_not_outlive_its_run(lab: Lab) -> None:
    graph = chain(1, TOUCH)
    graph["nodes"].append({"id": "timer", "block_id": TIMER, "input_default": {"seconds": 3600}, "metadata": {}})
    async with lab.worker():
        execution_id = await lab.start(graph, X=1)
        await lab.until(lambda: lab.get(execution_id), lambda record: record.last_seq > 6)
        assert (await lab.cancellation.cancel(await lab.get(execution_id), 10)).status == "TERMINATED"


async def left_by_a_lost_worker(lab: Lab, execution_id: str, verdict: str) -> None:
    """The run as it is after its worker was lost."""
    await lab.pool.execute(
        """UPDATE execution SET status = 'RUNNING', worker_id = 'lost', verdict = $2, epoch = 1, attempts = 4, losses = 4,
            start_time = now(), lease_until = now() - interval '1 s' WHERE id = $1""",
        execution_id,
        verdict,
    )


@pytest.mark.parametrize("verdict", ["LOST", "SUSPECT"])
async def test_an_execution_that_has_lost_its_worker_ends_at_once(lab: Lab, verdict: str) -> None:
    execution_id = await lab.start(chain(1), X=1)
    await left_by_a_lost_worker(lab, execution_id, verdict)
    record = await lab.cancellation.cancel(await lab.get(execution_id), 3)
    assert (record.status, record.outcome, record.last_seq) == ("TERMINATED", "TERMINATED", 2)
    assert [line.kind for line in await lab.journal(execution_id)][-1] == EventKind.EXECUTION_TERMINATED
    # Should that worker wake up, the run is no longer its own.
    assert await append(lab.pool, [Entry(execution_id, 1, 2, 1, "[]")], 2.5) == set()


async def test_a_child_that_has_lost_its_worker_ends_with_its_parent(lab: Lab) -> None:
    parent, child = [await lab.start(chain(1), X=1) for _ in range(2)]
    await lab.pool.execute("UPDATE execution SET parent_id = $2, root_id = $2 WHERE id = $1", child, parent)
    await left_by_a_lost_worker(lab, child, "SUSPECT")
    await lab.cancellation.cancel(await lab.get(parent), 3)
    assert [(await lab.get(execution_id)).status for execution_id in (parent, child)] == ["TERMINATED"] * 2


async def test_an_execution_whose_worker_is_lost_with_the_wish_still_ends(lab: Lab) -> None:
    execution_id = await lab.start(chain(1), X=1)
    await left_by_a_lost_worker(lab, execution_id, "SUSPECT")
    await lab.pool.execute("UPDATE execution SET cancel_requested = true WHERE id = $1", execution_id)
    await Aftermath(lab.tree, Letters(DueLetters(lab.pool)), claims_of(lab, "sweeper"), lab.notices).sweep()
    assert (await lab.get(execution_id)).status == "TERMINATED"
