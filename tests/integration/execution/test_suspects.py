"""What lost workers held: who is blamed, who goes on together, who alone."""

from datetime import timedelta

import pytest

from services.execution.worker.suspects import Probation, Suspects
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import chain

LEASE_S = 2.5


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


async def verdicts(lab: Lab, ids: list[str]) -> dict[tuple[str, int], int]:
    """How many of the runs have which verdict and attempts."""
    rows = await lab.pool.fetch(
        "SELECT verdict, attempts, count(*) FROM execution WHERE id = ANY($1::uuid[]) GROUP BY verdict, attempts", ids
    )
    return {(row[0], row[1]): row[2] for row in rows}


def judge(lab: Lab, worker: str = "judge") -> Suspects:
    """The judge of a worker."""
    return Suspects(lab.pool, worker, LEASE_S)


async def on_probation(suspects: Suspects, count: int) -> Probation:
    """The suspects whose turn it is, `count` of them."""
    probation = await suspects.claim(1000, is_idle=True)
    assert probation is not None
    assert len(probation.claims) == count
    return probation


async def test_after_the_first_loss_all_may_go_on_with_anyone(lab: Lab) -> None:
    ids = await held_by(lab, "lost", 5)
    await judge(lab).judge([])
    assert await verdicts(lab, ids) == {("LOST", 1): 5}


async def test_after_the_second_loss_many_go_on_together(lab: Lab) -> None:
    ids = await held_by(lab, "lost", 70, attempts=2)
    suspects = judge(lab)
    await suspects.judge([])
    assert await verdicts(lab, ids) == {("SUSPECT", 2): 70}
    first = await on_probation(suspects, 64)
    # While one worker has some on probation, no other has.
    assert await suspects.claim(1000, is_idle=True) is None
    await suspects.acquit([(claim.execution_id, claim.epoch) for claim in first.claims])
    await on_probation(suspects, 6)


@pytest.mark.parametrize(("attempts", "together"), [(3, 8), (4, 1), (5, 1)])
async def test_the_more_often_a_worker_was_lost_on_probation_the_fewer_go_on_together(lab: Lab, attempts: int, together: int) -> None:
    ids = await held_by(lab, "lost", 20, attempts=attempts, verdict="PROBATION")
    suspects = judge(lab)
    await suspects.judge([])
    assert await verdicts(lab, ids) == {("SUSPECT", attempts): 20}
    await on_probation(suspects, together)


async def test_what_was_beside_a_run_on_probation_is_not_blamed(lab: Lab) -> None:
    beside = await held_by(lab, "lost", 3, attempts=2)
    tried = await held_by(lab, "lost", 1, attempts=3, verdict="PROBATION")
    await judge(lab).judge([])
    assert await verdicts(lab, tried) == {("SUSPECT", 3): 1}
    assert await verdicts(lab, beside) == {("LOST", 1): 3}


async def test_a_worker_blames_nothing_that_it_holds_and_takes_back_what_it_lost_sight_of(lab: Lab) -> None:
    ids = await held_by(lab, "me", 4, attempts=2)
    held = [(execution_id, 1) for execution_id in ids[:3]]
    await judge(lab, "me").judge(held)
    assert await verdicts(lab, ids[:3]) == {("", 2): 3}
    assert await verdicts(lab, ids[3:]) == {("LOST", 1): 1}
    # Another one sees that its leases have run out.
    await judge(lab).judge([])
    assert await verdicts(lab, ids[:3]) == {("SUSPECT", 2): 3}


async def test_suspects_wait_for_a_worker_that_has_nothing_to_lose_but_not_for_long(lab: Lab) -> None:
    ids = await held_by(lab, "lost", 2, attempts=2)
    suspects = judge(lab)
    await suspects.judge([])
    assert await suspects.claim(10, is_idle=False) is None
    await lab.pool.execute("UPDATE execution SET lease_until = now() - interval '10 s' WHERE id = ANY($1::uuid[])", ids)
    assert await suspects.claim(10, is_idle=False) is not None
