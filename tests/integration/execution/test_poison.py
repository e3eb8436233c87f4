"""Runs that kill every worker that touches them: given up after five tries, with one dead letter."""

import asyncio
import json
import subprocess
from typing import Any

import pytest

from mesh.streams import DEAD_LETTER_RUN, DEAD_LETTERS, DISPATCH, DISPATCH_RUN
from services.execution.engine.events import EventKind
from services.execution.worker.pull import CONSUMER
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import PAUSE, POISON, STUCK, chain

TRIES = 5


async def letters(lab: Lab, execution_id: str) -> list[dict[str, Any]]:
    """The dead letters of a run."""
    js = (await lab.resources.bus()).js
    last = (await js.stream_info(DEAD_LETTERS)).state
    found = []
    for seq in range(last.first_seq, last.last_seq + 1):
        message = await js.get_msg(DEAD_LETTERS, seq)
        assert message.subject == DEAD_LETTER_RUN
        letter = json.loads(message.data or b"")
        if letter["execution_id"] == execution_id:
            found.append(letter)
    return found


async def ends(process: "subprocess.Popen[bytes]") -> int:
    """The code a worker ends with."""
    return await asyncio.to_thread(process.wait, 30)


# Short leases: all of them have to run out or be seen to be a dead worker's.
@pytest.mark.timeout(120)
async def test_a_run_that_kills_its_workers_fails_after_five_tries_with_one_letter(lab: Lab) -> None:
    execution_id = await lab.start(chain(1, PAUSE, seconds=0.0), X=1)
    for _ in range(TRIES):
        with lab.worker_process(test_hooks="node.start:kill") as doomed:
            assert await ends(doomed) < 0
    assert (await lab.get(execution_id)).status == "RUNNING"
    # The next one would die as well, but does not start the node any more.
    with lab.worker_process(test_hooks="node.start:kill"):
        record = await lab.ended(execution_id)
        assert (record.status, record.outcome) == ("FAILED", "FAILED")
        assert "given up: 5 workers" in record.error
        found = await lab.until(lambda: letters(lab, execution_id), bool)
    assert found == [{"execution_id": execution_id, "owner_id": lab.owner, "reason": record.error, "attempts": TRIES}]
    lines = await lab.journal(execution_id)
    assert [line.kind for line in lines].count(EventKind.EXECUTION_RESUMED) == TRIES
    assert lines[-1].kind == EventKind.EXECUTION_FAILED
    assert lines[-1].error == record.error


async def test_a_run_that_cannot_even_be_loaded_is_ended_without_that(lab: Lab) -> None:
    execution_id = await lab.start(chain(1), X=1)
    await lab.pool.execute("UPDATE execution SET attempts = $2 WHERE id = $1", execution_id, TRIES + 1)
    async with lab.worker():
        record = await lab.ended(execution_id)
        assert [line.kind for line in await lab.journal(execution_id)] == [EventKind.EXECUTION_QUEUED, EventKind.EXECUTION_FAILED]
        assert record.status == "FAILED"
        await lab.until(lambda: letters(lab, execution_id), bool)


async def test_a_letter_that_was_left_is_sent_once_by_many_workers(lab: Lab) -> None:
    execution_id = await lab.start(chain(1), X=1)
    # As a worker leaves it that dies after the commit, or while the bus is away.
    query = "UPDATE execution SET status = 'FAILED', end_time = now(), error = 'given up', attempts = 6, letter_due = true WHERE id = $1"
    await lab.pool.execute(query, execution_id)
    async with lab.worker(), lab.worker(), lab.worker():
        await lab.until(lambda: letters(lab, execution_id), bool)
        query = "SELECT letter_due FROM execution WHERE id = $1"
        await lab.until(lambda: lab.pool.fetchval(query, execution_id), lambda is_due: not is_due)
    assert len(await letters(lab, execution_id)) == 1


async def test_a_message_that_is_no_id_is_dropped(lab: Lab) -> None:
    bus = await lab.resources.bus()
    for data in (b"", b"\xff\xfe", b"not an id", b"00000000-0000-0000-0000-000000000000"):
        await bus.nc.publish(DISPATCH_RUN, data)
    async with lab.worker():
        await lab.ended(await lab.start(chain(1), X=1))
        look = lambda: bus.js.consumer_info(DISPATCH, CONSUMER)  # noqa: E731
        await lab.until(look, lambda info: info.num_pending == info.num_ack_pending == 0)


async def kept_alive(lab: Lab, count: int, **changes: Any) -> None:
    """Workers that are started again whenever they die, until cancelled."""

    async def one() -> None:
        while True:
            with lab.worker_process(**changes) as process:
                await asyncio.to_thread(process.wait)

    await asyncio.gather(*(one() for _ in range(count)))


# Up to eleven starts of a worker, one after the other, on a machine that does other things as well.
@pytest.mark.timeout(150)
async def test_one_users_poison_fails_alone_and_the_long_runs_of_another_go_on(lab: Lab) -> None:
    """Two workers hold ten runs that take their time when the poison comes."""
    long = await lab.graph(chain(1, PAUSE, seconds=12.0))
    innocent = [(await lab.create(long, X=at)).record.id for at in range(10)]
    keeping = asyncio.create_task(kept_alive(lab, 2))
    try:
        query = "SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND status = 'RUNNING' AND last_seq > 3"
        await lab.until(lambda: lab.pool.fetchval(query, innocent), lambda count: count == len(innocent))
        poison = await lab.start(chain(1, POISON), X=1)
        record = await lab.ended(poison, within_s=60)
        assert record.status == "FAILED"
        kinds = [line.kind for line in await lab.journal(poison)]
        starts = kinds.count(EventKind.EXECUTION_STARTED) + kinds.count(EventKind.EXECUTION_RESUMED)
        # The last one only ends it.
        assert starts == TRIES + 1
        for execution_id in innocent:
            assert (await lab.ended(execution_id, within_s=60)).outcome == "SUCCEEDED"
            resumed = [line.kind for line in await lab.journal(execution_id)].count(EventKind.EXECUTION_RESUMED)
            assert resumed <= 5
        await lab.until(lambda: letters(lab, poison), bool)
        assert [len(await letters(lab, execution_id)) for execution_id in (poison, *innocent)] == [1] + [0] * len(innocent)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@pytest.mark.timeout(150)
async def test_a_block_that_keeps_the_event_loop_for_ever_is_a_poison_like_any_other(lab: Lab) -> None:
    innocent = [await lab.start(chain(2, PAUSE, seconds=2.0), X=at) for at in range(4)]
    keeping = asyncio.create_task(kept_alive(lab, 2, watchdog_s=1.0))
    try:
        query = "SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND status = 'RUNNING' AND last_seq > 3"
        await lab.until(lambda: lab.pool.fetchval(query, innocent), lambda count: count == len(innocent))
        poison = await lab.start(chain(1, STUCK), X=1)
        record = await lab.ended(poison, within_s=100)
        assert (record.status, "given up" in record.error) == ("FAILED", True)
        assert [(await lab.ended(execution_id, within_s=30)).status for execution_id in innocent] == ["COMPLETED"] * len(innocent)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
