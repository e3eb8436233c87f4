"""Workers whose connections to the database go silent: health tells, and everything is back soon after."""

import asyncio
import time

import pytest

from services.execution.worker.app import Worker
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import PAUSE, chain
from tests.integration.mesh.muting import muting

# A heartbeat's pause, a statement's time, that of its cancellation, and a new connection on a busy machine.
BACK_S = 14.0


async def last_seq(lab: Lab, execution_id: str) -> int:
    """How far a run has come."""
    return (await lab.get(execution_id)).last_seq


@pytest.mark.timeout(90)
async def test_a_worker_is_back_soon_after_its_connections_went_silent(lab: Lab) -> None:
    async with muting(lab.settings) as between, lab.worker(database_url=between.url) as worker:
        execution_id = await lab.start(chain(200, PAUSE, seconds=0.1), X=1)
        await lab.until(lambda: last_seq(lab, execution_id), lambda seq: seq > 20)
        assert between.mute() > 2
        began = time.monotonic()
        stood = await standing(lab, execution_id)
        await lab.until(lambda: health(worker), lambda is_healthy: not is_healthy, BACK_S)
        await lab.until(lambda: last_seq(lab, execution_id), lambda seq: seq > stood, BACK_S)
        # What another lost: only a sweep that goes on finds it.
        lab.notices.bell.bus = None
        lost = (await lab.create(await lab.graph(chain(1)), X=1)).record.id
        await lab.pool.execute("UPDATE execution SET status = 'RUNNING', worker_id = 'x', verdict = 'LOST', epoch = 1 WHERE id = $1", lost)
        assert (await lab.ended(lost, BACK_S)).status == "COMPLETED"
        await lab.until(lambda: health(worker), bool, BACK_S)
        assert time.monotonic() - began < BACK_S
        await lab.cancellation.cancel(await lab.get(execution_id), 10)


async def standing(lab: Lab, execution_id: str) -> int:
    """Where the run stands once nothing comes through any more."""
    while True:
        before = await last_seq(lab, execution_id)
        await asyncio.sleep(0.5)
        if await last_seq(lab, execution_id) == before:
            return before


async def health(worker: Worker) -> bool:
    """What the worker says."""
    return worker.is_healthy
