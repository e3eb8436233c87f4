"""Statements that were executed although their answer says otherwise: everything still happens once."""

import asyncio
import os
from typing import Any

from mesh.errors import UnavailableError
from mesh.ids import uuid7
from mesh.resources import Resources
from services.execution.creation import Accepted, Creation
from services.execution.repository.executions import ExecutionRepository
from services.execution.worker.app import Worker
from tests.integration.execution.conftest import Lab
from tests.integration.execution.faulty import FaultyPool
from tests.integration.execution.graphs import PAUSE, TOUCH, chain
from tests.integration.execution.test_crash import check
from tests.integration.execution.touch import Touches

# Shown by what fails; `TREADLE_CHAOS_SEED` repeats it.
SEED = int(os.environ.get("TREADLE_CHAOS_SEED") or int.from_bytes(os.urandom(2)))
RATE = 0.1


async def persistently(lab: Lab, graph_id: str, request_id: str) -> Accepted:
    """Repeats the call as a client does that gets UNAVAILABLE."""
    while True:
        try:
            return await lab.create(graph_id, request_id=request_id, X=1)
        except UnavailableError:
            await asyncio.sleep(0)


async def test_a_request_id_makes_one_execution_whatever_answers_are_lost(lab: Lab) -> None:
    pool: Any = FaultyPool(lab.pool, 0.3, SEED)
    lab.creation = Creation(ExecutionRepository(pool))
    writer = asyncio.create_task(lab.creation.run())
    graph_id = await lab.graph(chain(1))
    request_ids = [uuid7() for _ in range(300)]
    made = []
    for first in range(0, len(request_ids), 20):
        made += await asyncio.gather(*(persistently(lab, graph_id, request_id) for request_id in request_ids[first : first + 20]))
    writer.cancel()
    assert pool.lost > 0, f"seed {SEED}"
    rows = await lab.pool.fetch("SELECT id::text, request_id FROM execution WHERE owner_id = $1", lab.owner)
    assert {row["request_id"]: row["id"] for row in rows} == dict(
        zip(request_ids, (accepted.record.id for accepted in made), strict=True)
    ), f"seed {SEED}"
    assert len(rows) == len(request_ids)
    events = "SELECT count(*) FROM execution_event v JOIN execution e ON e.id = v.execution_id WHERE e.owner_id = $1"
    assert await lab.pool.fetchval(events, lab.owner) == len(request_ids)


async def test_runs_complete_once_whatever_answers_workers_lose(lab: Lab, touches: Touches) -> None:
    resources = Resources(lab.settings, "worker", lab.resources.clients)
    pool: Any = FaultyPool((await resources.database("execution")).pool, RATE, SEED)
    worker = Worker(resources, pool)
    worker.start()
    try:
        pure, waiting, touching = [await lab.graph(chain(5, **kind)) for kind in ({}, {"block_id": PAUSE}, {"block_id": TOUCH})]
        ids = [(await lab.create(graph, X=at)).record.id for at in range(40) for graph in (pure, waiting, touching)]
        for execution_id in ids:
            await check(lab, execution_id, 7)
        assert pool.lost > 0, f"seed {SEED}"
        firings = touches.firings()
        assert len(firings) == len(set(firings)) == 5 * 40, f"seed {SEED}"
    finally:
        await worker.stop()
        await resources.close()
