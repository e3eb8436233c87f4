"""The journal's fence: one writer at a time, no gap, and no doubt after a lost answer."""

import asyncio
from typing import Any

import asyncpg

from services.execution.repository.claims import Claims, OwnerLimits
from services.execution.repository.entries import Ending, Entry, append, find_committed
from services.execution.repository.leases import Leases
from services.execution.worker.journal import Journal
from services.execution.worker.rounds import Rounds
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import chain

LEASE_S = 5.0


def claims_of(lab: Lab, worker: str, everywhere: int = 1000, here: int = 1000) -> Claims:
    """What a worker claims by."""
    return Claims(lab.pool, worker, LEASE_S, OwnerLimits(everywhere, here))


async def claimed(lab: Lab, worker: str) -> Any:
    """An execution that a worker has claimed."""
    execution_id = await lab.start(chain(1), X=1)
    (claim,) = await claims_of(lab, worker).claim([execution_id])
    return claim


def entry(claim: Any, seq: int, text: str = "[[2,1]]", **more: Any) -> Entry:
    """An entry of one event."""
    return Entry(claim.execution_id, claim.epoch, seq, 1, text, **more)


async def expire(lab: Lab, execution_id: str) -> None:
    """Lets the lease run out, as another worker finds it."""
    await lab.pool.execute("UPDATE execution SET lease_until = now() - interval '1 s', verdict = 'LOST' WHERE id = $1", execution_id)


async def test_the_second_writer_is_refused(lab: Lab) -> None:
    first = await claimed(lab, "a")
    assert await append(lab.pool, [entry(first, 2)], LEASE_S) == {first.execution_id}
    await expire(lab, first.execution_id)
    (second,) = await claims_of(lab, "b").claim([first.execution_id])
    assert (second.epoch, second.last_seq) == (first.epoch + 1, 2)
    assert await append(lab.pool, [entry(first, 3)], LEASE_S) == set()
    assert await append(lab.pool, [entry(second, 3)], LEASE_S) == {first.execution_id}
    assert (await lab.get(first.execution_id)).last_seq == 3


async def test_two_writers_at_once_never_both_extend_a_journal(lab: Lab) -> None:
    claim = await claimed(lab, "a")
    results = await asyncio.gather(*(append(lab.pool, [entry(claim, 2, f"[[2,{at}]]")], LEASE_S) for at in range(8)))
    assert sum(len(kept) for kept in results) == 1
    assert await lab.pool.fetchval("SELECT count(*) FROM execution_event WHERE execution_id = $1", claim.execution_id) == 2


async def test_an_entry_that_leaves_a_gap_is_refused(lab: Lab) -> None:
    claim = await claimed(lab, "a")
    assert await append(lab.pool, [entry(claim, 3)], LEASE_S) == set()


async def test_the_primary_key_stands_behind_the_fence(lab: Lab) -> None:
    claim = await claimed(lab, "a")
    await append(lab.pool, [entry(claim, 2)], LEASE_S)
    await lab.pool.execute("UPDATE execution SET last_seq = 1 WHERE id = $1", claim.execution_id)
    try:
        await append(lab.pool, [entry(claim, 2)], LEASE_S)
    except asyncpg.UniqueViolationError:
        return
    raise AssertionError("a seq was written twice")


async def test_a_held_lease_is_not_claimed(lab: Lab) -> None:
    claim = await claimed(lab, "a")
    assert await claims_of(lab, "b").claim([claim.execution_id]) == []


async def test_an_execution_is_claimed_once_by_many(lab: Lab) -> None:
    ids = [await lab.start(chain(1), X=1) for _ in range(20)]
    claims = await asyncio.gather(*(claims_of(lab, f"w{at}").claim(ids) for at in range(6)))
    found = [claim.execution_id for batch in claims for claim in batch]
    found += [claim.execution_id for claim in await claims_of(lab, "late").claim(ids)]
    assert sorted(found) == sorted(ids)


async def test_a_released_lease_is_free_at_once(lab: Lab) -> None:
    claim = await claimed(lab, "a")
    await Leases(lab.pool, LEASE_S).release([(claim.execution_id, claim.epoch)])
    (again,) = await claims_of(lab, "b").claim([claim.execution_id])
    assert (again.epoch, again.attempts) == (2, 1)


async def test_a_heartbeat_tells_what_is_lost_and_what_is_cancelled(lab: Lab) -> None:
    kept, lost, cancelled = [await claimed(lab, "a") for _ in range(3)]
    await expire(lab, lost.execution_id)
    await claims_of(lab, "b").claim([lost.execution_id])
    await lab.tree.stop([cancelled.execution_id], "[[7,1]]")
    renewal = await Leases(lab.pool, LEASE_S).renew([(claim.execution_id, claim.epoch) for claim in (kept, lost, cancelled)])
    assert renewal.lost == {lost.execution_id}
    assert renewal.cancelled == {cancelled.execution_id}


async def test_after_a_lost_answer_our_own_entry_is_recognised(lab: Lab) -> None:
    ours, other = await claimed(lab, "a"), await claimed(lab, "a")
    await append(lab.pool, [entry(ours, 2)], LEASE_S)
    assert await find_committed(lab.pool, [entry(ours, 2), entry(other, 2)]) == {ours.execution_id}
    assert await find_committed(lab.pool, [entry(ours, 2, "[[2,9]]")]) == set()


class Author:
    """A run that writes given entries."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = list(entries)
        self.committed: list[Entry] = []
        self.fenced = 0

    def take_entry(self) -> Entry | None:
        return self.entries.pop(0) if self.entries else None

    def on_committed(self, entry: Entry) -> None:
        self.committed.append(entry)

    def on_fenced(self) -> None:
        self.fenced += 1


class FlakyPool:
    """The pool, whose answers get lost after the statement was executed (and sometimes before)."""

    def __init__(self, pool: asyncpg.Pool, faults: list[str]) -> None:
        self.pool, self.faults = pool, faults

    async def acquire(self, **_: Any) -> "FlakyPool":
        return self

    async def release(self, _: Any) -> None:
        pass

    def is_closed(self) -> bool:
        return False

    async def fetch(self, *args: Any, **options: Any) -> Any:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise ConnectionResetError
        rows = await self.pool.fetch(*args, **options)
        if fault == "after":
            raise ConnectionResetError
        return rows


async def test_a_commit_whose_answer_is_lost_counts_once(lab: Lab) -> None:
    claim, lost = await claimed(lab, "a"), await claimed(lab, "a")
    ending = Ending("COMPLETED", "SUCCEEDED", '{"R":[1]}', "{}")
    author, fenced = Author(entry(claim, 2, ending=ending)), Author(entry(lost, 5))
    journal = Journal(FlakyPool(lab.pool, ["before", "after", "before"]), LEASE_S)  # type: ignore[arg-type]
    task = asyncio.create_task(journal.run())
    journal.add(author)
    journal.add(fenced)
    await journal.drain()
    task.cancel()
    assert (len(author.committed), author.fenced, len(fenced.committed), fenced.fenced) == (1, 0, 0, 1)
    record = await lab.get(claim.execution_id)
    assert (record.status, record.outputs, record.last_seq) == ("COMPLETED", '{"R":[1]}', 2)


async def test_a_commit_that_is_not_done_in_time_is_seen(lab: Lab) -> None:
    claim = await claimed(lab, "a")
    rounds = Rounds(late_s=0.1)
    # Each failure is followed by a pause that is longer than that.
    author = Author(entry(claim, 2))
    journal = Journal(FlakyPool(lab.pool, ["before"] * 4), LEASE_S, rounds=rounds)  # type: ignore[arg-type]
    task = asyncio.create_task(journal.run())
    assert rounds.are_well
    journal.add(author)
    await lab.until(lambda: asyncio.sleep(0.01, rounds.are_well), lambda are_well: not are_well)
    await journal.drain()
    assert rounds.are_well
    assert len(author.committed) == 1
    task.cancel()
