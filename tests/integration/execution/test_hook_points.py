"""Workers that die exactly between two steps: nothing is lost, nothing is recorded or done twice."""

import asyncio
import signal
import subprocess
import time

import psutil
import pytest

from services.execution.hooks import POINTS, arm_plan
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import PAUSE, TOUCH, chain
from tests.integration.execution.test_crash import check
from tests.integration.execution.touch import Touches

MOST_RUNS = 500
PAUSE_S = 0.05
# Only runs that wait for something pass it.
PARKING = {"park.after"}


@pytest.mark.parametrize("point", sorted(POINTS - PARKING))
async def test_a_worker_that_is_killed_there_loses_and_repeats_nothing(lab: Lab, touches: Touches, point: str) -> None:
    idempotent, effectful = await lab.graph(chain(4, PAUSE, seconds=0.01)), await lab.graph(chain(4, TOUCH))
    ids: list[str] = []
    touching: list[str] = []
    with lab.worker_process(test_hooks=f"{point}:kill:2") as doomed:
        while doomed.poll() is None:
            assert len(ids) < MOST_RUNS, "the point is never passed"
            ids.append((await lab.create(idempotent, X=1)).record.id)
            touching.append((await lab.create(effectful, X=1)).record.id)
            await asyncio.sleep(PAUSE_S)
        async with lab.worker():
            for execution_id in ids:
                await check(lab, execution_id, 6)
            for execution_id in touching:
                # A firing that was at work when its worker died is reported, not repeated.
                assert (await lab.ended(execution_id)).status == "COMPLETED"
    firings = touches.firings()
    assert len(firings) == len(set(firings))


async def _code(process: "subprocess.Popen[bytes]") -> int | None:
    return process.poll()


async def test_a_commit_that_was_held_back_beyond_the_lease_is_refused(lab: Lab, touches: Touches) -> None:
    graph_id = await lab.graph(chain(10, TOUCH, seconds=0.05))
    with lab.worker_process(test_hooks="journal.commit.before:stop:6") as paused:
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(5)]
        await lab.until(lambda: _state(paused), lambda state: state == psutil.STATUS_STOPPED)
        async with lab.worker():
            before = [await lab.ended(execution_id) for execution_id in ids]
            paused.send_signal(signal.SIGCONT)
            # It finds out by its own commit, and stays of use.
            again = (await lab.create(graph_id, X=1)).record.id
            await lab.ended(again)
        assert [await lab.get(execution_id) for execution_id in ids] == before
        assert paused.poll() is None
    for record in before:
        assert record.last_seq == len(await lab.journal(record.id))
    firings = touches.firings()
    assert len(firings) == len(set(firings))


async def _state(process: "subprocess.Popen[bytes]") -> str:
    return str(psutil.Process(process.pid).status())


async def test_a_dead_worker_is_missed_long_before_its_leases_run_out(lab: Lab) -> None:
    slow = {"lease_s": 60.0}
    graph_id = await lab.graph(chain(20, PAUSE, seconds=0.05))
    with lab.worker_process(**slow, test_hooks="journal.commit.after:kill:15") as doomed:
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(8)]
        await lab.until(lambda: _code(doomed), lambda code: code is not None)
    killed = time.monotonic()
    async with lab.worker(**slow):
        resumed = [await check(lab, execution_id, 22) for execution_id in ids]
    assert any(resumed)
    # The runs themselves take a second; the leases would have taken sixty.
    assert time.monotonic() - killed < 10


@pytest.mark.parametrize("plan", ["nowhere:kill", "claim.before:explode", "claim.before:kill:often"])
def test_a_plan_that_cannot_be_read_is_refused(plan: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        arm_plan(plan)
