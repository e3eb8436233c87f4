"""What lost workers held: who is blamed, what goes on with anyone, what goes on in which cell."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from services.execution.repository.leases import Leases
from services.execution.repository.suspects import Suspects
from services.execution.repository.verdicts import Verdicts
from services.execution.worker.judge import Judge
from services.execution.worker.liveness import Liveness
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import chain

LEASE_S = 0.5
SWEEP_S = 0.1


async def held_by(lab: Lab, worker: str, count: int, *, attempts: int = 1, verdict: str = "", expired_s: float = 1.0) -> list[str]:
    """Runs that a worker holds, whose leases ran out `expired_s` ago."""
    graph_id = await lab.graph(chain(1))
    lab.notices.bell.bus = None
    ids = [(await lab.create(graph_id, X=at)).record.id for at in range(count)]
    await lab.pool.execute(
        """UPDATE execution SET status = 'RUNNING', worker_id = $2, epoch = 1, attempts = $3, verdict = $4, losses = greatest($3 - 1, 0),
            start_time = now(), lease_until = now() - $5::interval WHERE id = ANY($1::uuid[])""",
        ids,
        worker,
        attempts,
        verdict,
        timedelta(seconds=expired_s),
    )
    return ids


async def verdicts(lab: Lab, ids: list[str]) -> dict[tuple[str, int, int], int]:
    """How many of the runs have which verdict, attempts and losses."""
    rows = await lab.pool.fetch(
        "SELECT verdict, attempts, losses, count(*) FROM execution WHERE id = ANY($1::uuid[]) GROUP BY verdict, attempts, losses", ids
    )
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def judge_of(lab: Lab, worker: str = "judge") -> Judge:
    """The judge of a worker."""
    return Judge(Verdicts(lab.pool), Leases(lab.pool, LEASE_S), worker, lease_s=LEASE_S, sweep_s=SWEEP_S)


async def judged(lab: Lab, ids: list[str], judge: Judge) -> dict[tuple[str, int, int], int]:
    """The verdicts once all of them are there."""

    async def look() -> dict[tuple[str, int, int], int]:
        await judge.judge([])
        return await verdicts(lab, ids)

    return await lab.until(look, lambda found: all(verdict for verdict, *_ in found))


@asynccontextmanager
async def alive(lab: Lab, worker: str) -> AsyncIterator[None]:
    """The worker's lock is held."""
    liveness = Liveness(lab.settings.database_url.get_secret_value(), worker)
    task = asyncio.create_task(liveness.run())
    try:
        await liveness.held.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("attempts", "verdict"), [(1, ("LOST", 1, 1)), (2, ("SUSPECT", 2, 2))])
async def test_a_second_loss_in_a_row_makes_a_suspect(lab: Lab, attempts: int, verdict: tuple[str, int, int]) -> None:
    ids = await held_by(lab, "lost", 5, attempts=attempts)
    assert await judged(lab, ids, judge_of(lab)) == {verdict: 5}


async def test_a_cell_that_dies_alone_is_the_fault_of_its_runs(lab: Lab) -> None:
    async with alive(lab, "parent"):
        ids = await held_by(lab, "parent/1", 2, attempts=3)
        assert await judged(lab, ids, judge_of(lab)) == {("SUSPECT", 3, 3): 2}


async def test_a_cell_that_dies_with_its_parent_is_nobodys_fault(lab: Lab) -> None:
    ids = await held_by(lab, "parent/1", 2, attempts=3)
    assert await judged(lab, ids, judge_of(lab)) == {("SUSPECT", 2, 3): 2}


async def test_a_run_that_got_on_in_its_cell_is_no_suspect_any_more(lab: Lab) -> None:
    async with alive(lab, "parent"):
        ids = await held_by(lab, "parent/1", 2, attempts=1)
        assert await judged(lab, ids, judge_of(lab)) == {("LOST", 1, 1): 2}


async def test_a_cell_that_stalls_is_blamed_by_its_parent_only(lab: Lab) -> None:
    async with alive(lab, "parent"), alive(lab, "parent/1"), alive(lab, "parent/2"):
        ids = await held_by(lab, "parent/1", 2, attempts=3)
        assert await judged(lab, ids, judge_of(lab, "parent")) == {("SUSPECT", 3, 3): 2}
        ids = await held_by(lab, "parent/2", 2, attempts=3)
        assert await judged(lab, ids, judge_of(lab)) == {("SUSPECT", 2, 3): 2}


async def test_a_worker_that_renews_any_lease_keeps_all(lab: Lab) -> None:
    ids = await held_by(lab, "slow", 3)
    judge, until = judge_of(lab), time.monotonic() + 3 * LEASE_S
    while time.monotonic() < until:
        await lab.pool.execute("UPDATE execution SET lease_until = now() WHERE id = $1", ids[0])
        await judge.judge([])
        await asyncio.sleep(SWEEP_S)
    assert await verdicts(lab, ids) == {("", 1, 0): 3}


async def test_a_worker_takes_back_what_it_lost_sight_of_and_nothing_else(lab: Lab) -> None:
    ids = await held_by(lab, "me", 4, attempts=2)
    judge = judge_of(lab, "me")
    for _ in range(10):
        await judge.judge(ids[:3])
        await asyncio.sleep(SWEEP_S)
    assert await verdicts(lab, ids[:3]) == {("", 2, 1): 3}
    assert await verdicts(lab, ids[3:]) == {("LOST", 1, 1): 1}


@pytest.mark.parametrize(("attempts", "together"), [(2, 64), (3, 8), (4, 1), (5, 1)])
async def test_the_more_often_a_cell_died_with_them_the_fewer_go_on_together(lab: Lab, attempts: int, together: int) -> None:
    ids = await held_by(lab, "lost", 70, attempts=attempts, verdict="SUSPECT")
    suspects = Suspects(lab.pool, LEASE_S)
    async with alive(lab, "parent"):
        reserved = await suspects.reserve("parent/1")
        assert len(reserved) == together
        # Another cell gets others.
        assert not set(await suspects.reserve("parent/2")) & set(reserved)
        claims = await suspects.claim("parent/1")
        assert {claim.execution_id for claim in claims} == set(reserved)
        assert {claim.attempts for claim in claims} == {attempts + 1}
        assert await suspects.at_work(["parent/1", "parent/2"]) == {"parent/1"}
        # What a cell did not claim goes to the next one.
        await suspects.unreserve("parent/2")
        assert len({*reserved, *(await suspects.reserve("parent/3"))}) == min(2 * together, len(ids))


async def test_those_that_wait_longest_go_first_and_only_with_their_like(lab: Lab) -> None:
    many = await held_by(lab, "lost", 5, attempts=2, verdict="SUSPECT")
    one = await held_by(lab, "lost", 1, attempts=3, verdict="SUSPECT", expired_s=5.0)
    suspects = Suspects(lab.pool, LEASE_S)
    async with alive(lab, "parent"):
        assert await suspects.reserve("parent/1") == one
        assert set(await suspects.reserve("parent/2")) == set(many)


async def test_reservations_end_with_the_worker_that_made_them(lab: Lab) -> None:
    ids = await held_by(lab, "lost", 3, attempts=2, verdict="SUSPECT")
    suspects = Suspects(lab.pool, LEASE_S)
    async with alive(lab, "parent"):
        assert set(await suspects.reserve("parent/1")) == set(ids)
        assert not await suspects.reserve("other/1")
    await lab.until(lambda: suspects.reserve("other/1"), bool)
    assert await suspects.claim("parent/1") == []


async def test_what_is_handed_over_keeps_its_verdict_and_gets_its_start_back(lab: Lab) -> None:
    tried, got_on = await held_by(lab, "parent/1", 1, attempts=3), await held_by(lab, "parent/1", 1, attempts=1)
    await Leases(lab.pool, LEASE_S).release([(tried[0], 1), (got_on[0], 1)])
    assert await verdicts(lab, tried) == {("SUSPECT", 2, 2): 1}
    assert await verdicts(lab, got_on) == {("LOST", 0, 0): 1}
