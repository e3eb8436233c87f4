"""Runs that kill every worker that touches them: given up after five tries, with one dead letter."""

import asyncio
import json
import os
import random
import subprocess
import time
from typing import Any

import pytest

from mesh.streams import DEAD_LETTER_RUN, DEAD_LETTERS, DISPATCH, DISPATCH_RUN
from services.execution.engine.events import EventKind
from services.execution.repository.leases import SUSPECT_AFTER
from services.execution.worker.pull import CONSUMER
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import PAUSE, POISON, STUCK, chain

TRIES = 5
# From the verdict to the start in a cell, on a machine that does other things as well.
LONGEST_PAUSE_S = 15.0
KILLING_S = 25.0
# Shown by what fails; `TREADLE_CHAOS_SEED` repeats it.
SEED = int(os.environ.get("TREADLE_CHAOS_SEED") or int.from_bytes(os.urandom(2)))


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


async def starts_of(lab: Lab, execution_id: str) -> int:
    """How often workers have begun with the run."""
    kinds = [line.kind for line in await lab.journal(execution_id)]
    return kinds.count(EventKind.EXECUTION_STARTED) + kinds.count(EventKind.EXECUTION_RESUMED)


@pytest.mark.timeout(120)
async def test_a_run_that_kills_its_workers_fails_after_five_tries_with_one_letter(lab: Lab) -> None:
    execution_id = await lab.start(chain(1, PAUSE, seconds=0.0), X=1)
    for _ in range(SUSPECT_AFTER):
        with lab.worker_process(test_hooks="node.start:kill") as doomed:
            assert await ends(doomed) < 0
    assert (await lab.get(execution_id)).status == "RUNNING"
    # From now on it kills cells only. The last of these does not start the node any more.
    with lab.worker_process(test_hooks="node.start:kill") as worker:
        record = await lab.ended(execution_id)
        assert (record.status, record.outcome) == ("FAILED", "FAILED")
        assert "given up: 5 workers" in record.error
        found = await lab.until(lambda: letters(lab, execution_id), bool)
        assert worker.poll() is None
    assert found == [{"execution_id": execution_id, "owner_id": lab.owner, "reason": record.error, "attempts": TRIES}]
    assert await starts_of(lab, execution_id) == TRIES + 1
    lines = await lab.journal(execution_id)
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


async def kept_alive(lab: Lab, count: int, running: "list[subprocess.Popen[bytes]] | None" = None, **changes: Any) -> None:
    """Workers that are started again whenever they die, until cancelled. `running` gets those that run."""
    shown = running if running is not None else []

    async def one() -> None:
        while True:
            with lab.worker_process(**changes) as process:
                shown.append(process)
                while process.poll() is None:  # noqa: ASYNC110 - there is no event for the end of a process
                    await asyncio.sleep(0.1)
                shown.remove(process)

    await asyncio.gather(*(one() for _ in range(count)))


@pytest.mark.timeout(150)
@pytest.mark.parametrize("after_s", [0.0, 3.0])
async def test_one_users_poison_fails_alone_and_the_long_runs_of_another_go_on(lab: Lab, after_s: float) -> None:
    """Two workers hold forty runs that take their time when the poison comes."""
    long = await lab.graph(chain(1, PAUSE, seconds=12.0))
    innocent = [(await lab.create(long, X=at)).record.id for at in range(40)]
    keeping = asyncio.create_task(kept_alive(lab, 2))
    try:
        query = "SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND status = 'RUNNING' AND last_seq > 3"
        await lab.until(lambda: lab.pool.fetchval(query, innocent), lambda count: count == len(innocent))
        pauses = asyncio.create_task(Pauses(lab, innocent).watch())
        poison = await lab.start(chain(1, POISON, seconds=after_s), X=1)
        assert (await lab.ended(poison, within_s=90)).status == "FAILED"
        # The last one only ends it.
        assert await starts_of(lab, poison) == TRIES + 1
        for execution_id in innocent:
            assert (await lab.ended(execution_id, within_s=60)).outcome == "SUCCEEDED"
        longest_s = await pauses
        print(f"innocent runs stood still for {longest_s:.1f} s at most")
        assert longest_s < LONGEST_PAUSE_S
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


# Workers are killed again and again, and the runs are longer than most of them live.
@pytest.mark.timeout(150)
async def test_no_innocent_run_is_given_up_however_often_workers_die(lab: Lab) -> None:
    source = random.Random(SEED)  # noqa: S311 - repeatable
    workers: list[subprocess.Popen[bytes]] = []
    graphs = [await lab.graph(chain(2, PAUSE, seconds=seconds)) for seconds in (0.5, 4.0, 10.0)]
    keeping = asyncio.create_task(kept_alive(lab, 3, workers))
    try:
        ids = [(await lab.create(source.choice(graphs), X=at)).record.id for at in range(60)]
        pauses = asyncio.create_task(Pauses(lab, ids).watch())
        kills = 0
        began = time.monotonic()
        while time.monotonic() < began + KILLING_S:
            await asyncio.sleep(source.expovariate(1 / 2.5))
            if workers:
                source.choice(workers).kill()
                kills += 1
        for execution_id in ids:
            record = await lab.ended(execution_id, within_s=60)
            assert record.outcome == "SUCCEEDED", f"seed {SEED}: {record.error}"
        print(f"seed {SEED}: {kills} kills, longest pause {await pauses:.1f} s")
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


class Pauses:
    """How long runs wait between the verdict on their worker and their next start."""

    def __init__(self, lab: Lab, ids: list[str]) -> None:
        self._lab, self._ids = lab, ids
        self._since: dict[str, float] = {}

    async def watch(self) -> float:
        """The longest pause, once all have ended."""
        query = """SELECT id, verdict <> '' AND status = 'RUNNING' AS waits, end_time IS NULL AS goes_on
            FROM execution WHERE id = ANY($1::uuid[])"""
        longest_s, is_over = 0.0, False
        while not is_over:
            rows = await self._lab.pool.fetch(query, self._ids)
            now = time.monotonic()
            for row in rows:
                if row["waits"]:
                    self._since.setdefault(row["id"], now)
                else:
                    longest_s = max(longest_s, now - self._since.pop(row["id"], now))
            is_over = not any(row["goes_on"] for row in rows)
            await asyncio.sleep(0.1)
        return longest_s
