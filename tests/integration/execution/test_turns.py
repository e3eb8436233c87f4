"""Whose turn it is when slots are scarce: what was lost, then what is due and what is queued in turn."""

import asyncio
import json
import time
from statistics import median

from mesh.ids import uuid7
from services.execution.repository.claims import _CLAIM_LOST
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, PAUSE, TIMER, chain, document, link, node
from tests.integration.execution.test_journal import claims_of

SLOTS = 8


async def some(lab: Lab, count: int, how: str = "") -> set[str]:
    """Queued runs; `how` is SQL that makes something else of them."""
    lab.notices.bell.bus = None
    graph_id = await lab.graph(chain(1))
    ids = [(await lab.create(graph_id, X=at)).record.id for at in range(count)]
    if how:
        await lab.pool.execute(f"UPDATE execution SET start_time = now(), {how} WHERE id = ANY($1::uuid[])", ids)  # noqa: S608
    return set(ids)


async def lost_runs(lab: Lab, count: int) -> set[str]:
    """Runs that have lost their worker."""
    return await some(
        lab, count, "status = 'RUNNING', worker_id = 'lost', verdict = 'LOST', lease_until = now() - interval '1 s', epoch = 1"
    )


async def due_runs(lab: Lab, count: int) -> set[str]:
    """Parked runs whose answer has come."""
    return await some(lab, count, "status = 'RUNNING', wake_time = now() - interval '1 s'")


async def test_lost_runs_come_before_all_others(lab: Lab) -> None:
    await some(lab, 30)
    await due_runs(lab, 5)
    lost = await lost_runs(lab, 10)
    claims = claims_of(lab, "w")
    first, second = await claims.claim_next(6), await claims.claim_next(6)
    assert {claim.execution_id for claim in first} <= lost
    assert len({claim.execution_id for claim in [*first, *second]} & lost) == 10
    assert len(second) == 6


async def test_due_and_queued_runs_share_what_is_free(lab: Lab) -> None:
    queued, due = await some(lab, 40), await due_runs(lab, 40)
    claims = claims_of(lab, "w")
    found = [claim.execution_id for _ in range(2) for claim in await claims.claim_next(10)]
    assert (len(queued.intersection(found)), len(due.intersection(found))) == (10, 10)
    singles = [claim.execution_id for _ in range(10) for claim in await claims.claim_next(1)]
    assert (len(queued.intersection(singles)), len(due.intersection(singles))) == (5, 5)


async def test_what_one_kind_leaves_free_is_the_others(lab: Lab) -> None:
    queued, due = await some(lab, 3), await due_runs(lab, 2)
    claims = claims_of(lab, "w")
    assert {claim.execution_id for claim in await claims.claim_next(10)} == queued | due
    assert await claims.claim_next(10) == []


async def test_runs_of_a_lost_worker_go_on_while_the_queue_is_full(lab: Lab) -> None:
    graphs = []
    for _ in range(4):
        lab.owner = uuid7()
        graphs.append((lab.owner, await lab.graph(chain(1, PAUSE, seconds=0.5))))
    with lab.worker_process(worker_slots=SLOTS) as doomed:
        async with lab.worker(worker_slots=SLOTS):
            ids = []
            for at in range(200):
                lab.owner, graph_id = graphs[at % len(graphs)]
                ids.append((await lab.create(graph_id, X=at)).record.id)
            query = "SELECT id::text FROM execution WHERE status = 'RUNNING' AND worker_id LIKE $1"
            mark = f"%-{doomed.pid}-%"
            held = {row[0] for row in await lab.until(lambda: lab.pool.fetch(query, mark), lambda rows: len(rows) == SLOTS)}
            doomed.kill()
            killed = time.monotonic()
            waits: dict[str, float] = {}
            look = "SELECT id::text FROM execution WHERE id = ANY($1::uuid[]) AND worker_id NOT LIKE $2"
            while len(waits) < SLOTS and time.monotonic() - killed < 20:
                for row in await lab.pool.fetch(look, list(held), mark):
                    waits.setdefault(row[0], time.monotonic() - killed)
                await asyncio.sleep(0.02)
            queued = await lab.pool.fetchval("SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND status = 'QUEUED'", ids)
    assert queued, "the queue was not full"
    assert len(waits) == SLOTS
    # Half a second is the runs' own time.
    assert median(waits.values()) < 2.5
    assert max(waits.values()) < 5


async def test_looking_for_lost_runs_costs_nothing_while_thousands_are_at_work(lab: Lab) -> None:
    await some(lab, 1)
    copy = """
        INSERT INTO execution (id, owner_id, graph_id, graph_version, status, inputs, input_masks, last_seq, worker_id, lease_until)
        SELECT gen_random_uuid(), owner_id, graph_id, 1, 'RUNNING', '{}', '{}', 5, 'w' || n % 50, now() + interval '1 h'
        FROM execution, generate_series(1, 10000) n WHERE owner_id = $1
    """
    await lab.pool.execute(copy, lab.owner)
    [(plan,)] = await lab.pool.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_CLAIM_LOST}", "w", 2.5, 128)
    [found] = json.loads(plan)
    assert found["Plan"]["Actual Rows"] == 0
    assert found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"] < 10


async def test_runs_that_waited_go_on_while_the_queue_is_full(lab: Lab) -> None:
    waiting = document(
        [node("in", INPUT, name="X"), node("wait", TIMER, seconds=3), node("end", PAUSE, seconds=0.0)],
        [link("in.result", "wait.input_message"), link("wait.output_message", "end.value")],
    )
    async with lab.worker(worker_slots=1):
        parked = await lab.start(waiting, X=1)
        await lab.until(lambda: lab.get(parked), lambda record: record.wake_time is not None)
        graph_id = await lab.graph(chain(1, PAUSE, seconds=0.5))
        lab.notices.bell.bus = None
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(40)]
        record = await lab.ended(parked, 6.0)
        queued = await lab.pool.fetchval("SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND status = 'QUEUED'", ids)
    assert record.status == "COMPLETED"
    assert queued, "the queue was not full"
