"""Cancellation of executions that wait and of executions at work."""

import time

from services.execution.engine.events import EventKind
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import TIMER, TOUCH, chain


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
