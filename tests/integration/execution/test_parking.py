"""Runs that wait without a worker: how they park, what wakes them, and that no answer is missed."""

import asyncio
import json
import time
from collections.abc import Sequence

from services.execution.engine.events import EventKind
from services.execution.repository.entries import Entry, Parking, Value, append
from services.execution.repository.leases import Claim, Leases
from services.execution.repository.signals import Signal, Woken
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import chain
from tests.integration.execution.test_journal import LEASE_S, claimed, claims_of

US_PER_S = 1_000_000


async def park(lab: Lab, claim: Claim, *, status: str = "RUNNING", seen: int = 0, wake_time_us: int | None = None) -> None:
    """Parks a claimed run with its next event."""
    parking = Parking(status, wake_time_us, seen, '{"R":[1]}', '{"node_count":1}')
    entry = Entry(claim.execution_id, claim.epoch, claim.last_seq + 1, 1, "[[2,1]]", ending=parking)
    assert await append(lab.pool, [entry], LEASE_S) == {claim.execution_id}


async def parked(lab: Lab) -> Claim:
    """A run that waits for an answer."""
    claim: Claim = await claimed(lab, "a")
    await park(lab, claim)
    return claim


def in_s(seconds: float) -> int:
    """A time from now, as journals write it."""
    return int((time.time() + seconds) * US_PER_S)


async def test_a_parked_run_holds_nothing_and_is_claimed_only_when_due(lab: Lab) -> None:
    claim = await parked(lab)
    record = await lab.get(claim.execution_id)
    assert (record.status, record.outputs, record.last_seq) == ("RUNNING", '{"R":[1]}', 2)
    row = await lab.pool.fetchrow("SELECT worker_id, lease_until, wake_time, attempts FROM execution WHERE id = $1", claim.execution_id)
    assert tuple(row or ()) == ("", None, None, 0)
    claims = claims_of(lab, "b")
    assert await claims.claim([claim.execution_id]) == []
    assert claim.execution_id not in {found.execution_id for found in await claims.claim_lost(100) + await claims.claim_due(100)}
    # A heartbeat or a stop that comes too late gives it no lease back.
    held = [(claim.execution_id, claim.epoch)]
    assert (await Leases(lab.pool, LEASE_S).renew(held)).lost == set()
    assert await Leases(lab.pool, LEASE_S).release(held) == []
    assert await claims.claim([claim.execution_id]) == []


async def test_an_answer_wakes_a_parked_run_once(lab: Lab) -> None:
    claim = await parked(lab)
    sent = (claim.execution_id, Signal(3, 0, '{"approved":true}'))
    assert await lab.signals.send([sent]) == _woken(parked=[claim.execution_id])
    # The first answer wins; a second one wakes nobody.
    again = (claim.execution_id, Signal(3, 0, '{"approved":false}'))
    assert await lab.signals.send([again]) == _woken()
    (woken,) = await claims_of(lab, "b").claim([claim.execution_id])
    assert (woken.signals, woken.epoch) == (1, claim.epoch + 1)
    pending = await lab.signals.pending(claim.execution_id, [(3, 0), (4, 0)])
    assert (pending.signals_seen, list(pending.signals)) == (1, [Signal(3, 0, '{"approved":true}')])
    assert (await lab.signals.pending(claim.execution_id, [])).signals_seen == 1


async def test_an_answer_that_comes_while_a_run_parks_is_not_missed(lab: Lab) -> None:
    claim = await claimed(lab, "a")
    sent = (claim.execution_id, Signal(0, 0, "null"))
    assert await lab.signals.send([sent]) == _woken(held=[claim.execution_id])
    await park(lab, claim, seen=0)
    assert await claims_of(lab, "b").due([claim.execution_id]) == [claim.execution_id]
    (again,) = await claims_of(lab, "b").claim([claim.execution_id])
    await park(lab, again, seen=1)
    assert await claims_of(lab, "b").due([claim.execution_id]) == []


async def test_many_answers_and_parkings_at_once_leave_no_answer_unseen(lab: Lab) -> None:
    answers = 40
    claim = await claimed(lab, "w0")

    async def answer(number: int) -> None:
        await asyncio.sleep(number / 200)
        await lab.signals.send([(claim.execution_id, Signal(number, 0, "null"))])

    async def work() -> None:
        held, waits = claim, [(number, 0) for number in range(answers)]
        while True:
            pending = await lab.signals.pending(held.execution_id, waits)
            if len(pending.signals) == answers:
                return
            await park(lab, held, seen=pending.signals_seen)
            # Only a row that is due can be claimed: a missed answer would be waited for in vain.
            (held,) = await lab.until(lambda: claims_of(lab, "w").claim([claim.execution_id]), bool, 10)

    await asyncio.gather(work(), *(answer(number) for number in range(answers)))


async def test_an_answer_to_a_run_that_has_ended_changes_nothing(lab: Lab) -> None:
    claim = await parked(lab)
    await lab.cancellation.cancel(await lab.get(claim.execution_id), 5)
    assert await lab.signals.send([(claim.execution_id, Signal(0, 0, "null"))]) == _woken()
    assert await lab.pool.fetchval("SELECT count(*) FROM execution_signal WHERE execution_id = $1", claim.execution_id) == 0


async def test_the_bus_wakes_a_run_at_its_time(lab: Lab) -> None:
    execution_id = await _parked_anew(lab, 0.7)
    await lab.notices.bell.wake_at(execution_id, in_s(0.7))
    # No sweep can have done it.
    async with lab.worker(sweep_s=600.0):
        began = time.monotonic()
        assert (await lab.ended(execution_id, 10)).status == "COMPLETED"
        assert time.monotonic() - began < 2


async def test_the_sweep_wakes_a_run_whose_message_was_lost(lab: Lab) -> None:
    execution_id = await _parked_anew(lab, 0.3)
    async with lab.worker():
        assert (await lab.ended(execution_id, 10)).status == "COMPLETED"


async def test_large_values_are_kept_with_the_events_that_refer_to_them(lab: Lab) -> None:
    claim, other = await claimed(lab, "a"), await claimed(lab, "a")
    values = [Value("aa", 3, '"x"'), Value("bb", 3, '"y"')]
    fenced = Entry(other.execution_id, other.epoch, 9, 1, "[[2,1]]", values=values)
    entry = Entry(claim.execution_id, claim.epoch, 2, 1, "[[2,1]]", values=values)
    assert await append(lab.pool, [entry, fenced], LEASE_S) == {claim.execution_id}
    repeated = Entry(claim.execution_id, claim.epoch, 3, 1, "[[2,1]]", values=values[:1])
    assert await append(lab.pool, [repeated], LEASE_S) == {claim.execution_id}
    query = "SELECT sha256, content FROM execution_value WHERE execution_id = ANY($1::uuid[]) ORDER BY sha256"
    rows = await lab.pool.fetch(query, [claim.execution_id, other.execution_id])
    assert [tuple(row) for row in rows] == [("aa", '"x"'), ("bb", '"y"')]


async def _parked_anew(lab: Lab, seconds: float) -> str:
    """A run that has not begun, and waits for a time."""
    execution_id = (await lab.create(await lab.graph(chain(1)), X=1)).record.id
    query = "UPDATE execution SET status = 'RUNNING', wake_time = now() + make_interval(secs => $2) WHERE id = $1"
    await lab.pool.execute(query, execution_id, seconds)
    return execution_id


def _woken(parked: Sequence[str] = (), held: Sequence[str] = ()) -> Woken:
    """What `send` says."""

    return Woken(list(parked), list(held))


async def child_of(lab: Lab, parent: Claim, **columns: object) -> str:
    """A child that the parent's firing 2 waits for."""
    execution_id = (await lab.create(await lab.graph(chain(1)), X=1)).record.id
    sets = "".join(f", {name} = {value}" for name, value in columns.items())
    query = f"UPDATE execution SET parent_id = $2, root_id = $2, parent_firing = 2, parent_wait = 1, depth = 1{sets} WHERE id = $1"  # noqa: S608
    await lab.pool.execute(query, execution_id, parent.execution_id)
    return execution_id


async def test_a_parent_is_told_how_its_child_ended(lab: Lab) -> None:
    parent = await parked(lab)
    child = await child_of(lab, parent)
    async with lab.worker():
        await lab.ended(child)
        # Nobody was told of this child in time: the sweep does it.
        pending = await lab.until(lambda: lab.signals.pending(parent.execution_id, [(2, 1)]), lambda found: found.signals)
    answer = json.loads(pending.signals[0].answer)
    assert (answer["execution_id"], answer["status"], answer["outcome"]) == (child, "COMPLETED", "SUCCEEDED")
    assert answer["outputs"] == [["R", 2]]
    assert answer["node_count"] == 3
    assert await lab.tree.tell_parents([child]) == Woken((), ())


async def test_cancel_ends_parked_queued_and_running_runs_of_a_tree(lab: Lab) -> None:
    parent, review = await parked(lab), await claimed(lab, "a")
    await park(lab, review, status="REVIEW")
    await lab.pool.execute("UPDATE execution SET parent_id = $2 WHERE id = $1", review.execution_id, parent.execution_id)
    queued = await child_of(lab, review)
    record = await lab.cancellation.cancel(await lab.get(parent.execution_id), 5)
    assert (record.status, record.outcome, record.outputs) == ("TERMINATED", "TERMINATED", '{"R":[1]}')
    for execution_id in (parent.execution_id, review.execution_id, queued):
        assert (await lab.get(execution_id)).status == "TERMINATED"
        lines = await lab.journal(execution_id)
        assert lines[-1].kind == EventKind.EXECUTION_TERMINATED
        assert (await lab.get(execution_id)).last_seq == len(lines)
    # A child that ended with its parent tells it nothing.
    assert await lab.pool.fetchval("SELECT count(*) FROM execution_signal WHERE execution_id = $1", parent.execution_id) == 0


async def test_a_child_whose_parent_ended_without_it_is_stopped(lab: Lab) -> None:
    parent = await parked(lab)
    child = await child_of(lab, parent)
    await lab.pool.execute("UPDATE execution SET status = 'FAILED', end_time = now() WHERE id = $1", parent.execution_id)
    await lab.pool.execute("UPDATE execution SET status = 'REVIEW' WHERE id = $1", child)
    async with lab.worker():
        assert (await lab.ended(child)).status == "TERMINATED"


async def test_a_cancel_of_a_child_tells_its_parent(lab: Lab) -> None:
    parent = await parked(lab)
    child = await child_of(lab, parent)
    await lab.cancellation.cancel(await lab.get(child), 5)
    pending = await lab.signals.pending(parent.execution_id, [(2, 1)])
    assert json.loads(pending.signals[0].answer)["status"] == "TERMINATED"
