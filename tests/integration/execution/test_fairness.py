"""Many runs of one user, and the single run of another."""

import asyncio
import time

import pytest

from mesh.ids import uuid7
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import PAUSE, chain

MANY = 10_000
AT_ONCE = 500
# What "a few seconds" is: the sweep's period, and a slot's.
SOON_S = 3.0


async def crowd(lab: Lab, graph_id: str, count: int) -> list[str]:
    """Executions of the lab's owner."""
    ids: list[str] = []
    for _ in range(0, count, AT_ONCE):
        made = await asyncio.gather(*(lab.create(graph_id, X=1) for _ in range(min(AT_ONCE, count))))
        ids += [accepted.record.id for accepted in made]
    return ids


async def count(lab: Lab, status: str) -> int:
    """How many executions of the lab's owner have a status."""
    found: int = await lab.pool.fetchval("SELECT count(*) FROM execution WHERE owner_id = $1 AND status = $2", lab.owner, status)
    return found


async def started_after_s(lab: Lab, seconds: float) -> float:
    """How long a run of another user waits."""
    crowd_owner, lab.owner = lab.owner, uuid7()
    try:
        began = time.monotonic()
        execution_id = (await lab.create(await lab.graph(chain(1, PAUSE, seconds=0.0)), X=1)).record.id
        await lab.until(lambda: lab.get(execution_id), lambda record: record.status != "QUEUED", seconds)
        waited_s = time.monotonic() - began
        await lab.ended(execution_id, seconds)
        return waited_s
    finally:
        lab.owner = crowd_owner


@pytest.mark.parametrize("pause_s", [600.0, 0.5], ids=["that never end", "that end"])
async def test_ten_thousand_runs_of_one_user_do_not_delay_the_run_of_another(lab: Lab, pause_s: float) -> None:
    await crowd(lab, await lab.graph(chain(1, PAUSE, seconds=pause_s)), MANY)
    async with lab.worker(), lab.worker():
        await lab.until(lambda: count(lab, "RUNNING"), lambda running: running > 150)
        waits = [await started_after_s(lab, SOON_S) for _ in range(5)]
        assert max(waits) < SOON_S
        assert await count(lab, "QUEUED") > MANY // 2
        await lab.pool.execute("UPDATE execution SET status = 'TERMINATED', end_time = now() WHERE owner_id = $1", lab.owner)


async def test_a_full_worker_serves_owners_in_turn(lab: Lab) -> None:
    graph_id = await lab.graph(chain(1, PAUSE, seconds=0.2))
    async with lab.worker(worker_slots=8):
        await crowd(lab, graph_id, 200)
        first_owner, lab.owner = lab.owner, uuid7()
        ids = await crowd(lab, graph_id, 8)
        for execution_id in ids:
            await lab.ended(execution_id, 5.0)
        lab.owner = first_owner
        assert await count(lab, "QUEUED") > 0
        await lab.until(lambda: count(lab, "COMPLETED"), lambda ended: ended == 200)


async def test_a_user_has_no_more_than_the_limit_at_work(lab: Lab) -> None:
    limit = 5
    async with lab.worker(max_running_per_user=limit):
        ids = await crowd(lab, await lab.graph(chain(1, PAUSE, seconds=0.1)), 40)
        most = 0
        while await count(lab, "COMPLETED") < len(ids):
            most = max(most, await count(lab, "RUNNING"))
            await asyncio.sleep(0.01)
        assert 1 < most <= limit


async def test_at_the_limit_one_run_follows_the_other_without_a_pause(lab: Lab) -> None:
    async with lab.worker(max_running_per_user=1):
        began = time.monotonic()
        for execution_id in await crowd(lab, await lab.graph(chain(1)), 20):
            await lab.ended(execution_id)
        # Half a second each if they waited for the sweep.
        assert time.monotonic() - began < 6
