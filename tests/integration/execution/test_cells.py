"""Cells: what is suspected runs, is cancelled, gets its answers and is handed over there as anywhere, and harms nobody."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.execution.engine.events import EventKind
from services.execution.repository.signals import Signal
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import PAUSE, chain, link, node
from tests.integration.execution.test_crash import ENDS, check
from tests.integration.execution.test_waits import REVIEW, YES
from tests.integration.execution.touch import NO_DEATH_SIGNAL

pytestmark = pytest.mark.timeout(90)


async def suspected(
    lab: Lab, count: int = 1, *, attempts: int = 2, seconds: float = 60.0, graph: dict[str, Any] | None = None
) -> list[str]:
    """Runs under way that take their time and wait for a cell."""
    graph_id = await lab.graph(graph or chain(1, PAUSE, seconds=seconds))
    async with lab.worker() as worker:
        ids = [(await lab.create(graph_id, X=at)).record.id for at in range(count)]
        query = "SELECT count(*) FROM execution WHERE id = ANY($1::uuid[]) AND last_seq > 3"
        await lab.until(lambda: lab.pool.fetchval(query, ids), lambda found: found == count)
        # Reserved by this worker, so until it is gone.
        await lab.pool.execute(
            """UPDATE execution SET worker_id = $3, verdict = 'SUSPECT', epoch = epoch + 1, attempts = $2, losses = $2,
                lease_until = now() + interval '1 h' WHERE id = ANY($1::uuid[])""",
            ids,
            attempts,
            f"{worker.id}/1000",
        )
    return ids


async def in_cells(lab: Lab, ids: list[str]) -> set[str]:
    """Waits until cells have the runs, and these are under way. Returns the worker ids."""
    query = "SELECT worker_id FROM execution WHERE id = ANY($1::uuid[]) AND verdict = '' AND worker_id LIKE '%/%'"
    rows = await lab.until(lambda: lab.pool.fetch(query, ids), lambda rows: len(rows) == len(ids))
    return {row[0] for row in rows}


async def standing(lab: Lab, ids: list[str]) -> set[tuple[str, int]]:
    """Verdicts and attempts of runs."""
    return {tuple(row) for row in await lab.pool.fetch("SELECT verdict, attempts FROM execution WHERE id = ANY($1::uuid[])", ids)}


def cells_of(pid: int) -> list[psutil.Process]:
    """The processes of a worker's cells."""
    return [process for process in psutil.Process(pid).children() if "cell_process.py" in " ".join(process.cmdline())]


async def gone(processes: list[psutil.Process], within_s: float) -> None:
    """Fails unless the processes end in time."""
    _, left = await asyncio.to_thread(psutil.wait_procs, processes, within_s)
    assert not left


async def test_suspects_run_to_their_end_in_a_cell_that_ends_then(lab: Lab) -> None:
    ids = await suspected(lab, 10, seconds=1.0)
    with lab.worker_process() as worker:
        assert len(await in_cells(lab, ids)) == 1
        (cell,) = cells_of(worker.pid)
        for execution_id in ids:
            await check(lab, execution_id, 3)
        await gone([cell], 5)
        assert worker.poll() is None


async def test_no_cell_outlives_its_parent_and_nobody_is_blamed(lab: Lab) -> None:
    ids = await suspected(lab, 3, attempts=4)
    with lab.worker_process() as worker:
        assert len(await in_cells(lab, ids)) == 3
        cells = cells_of(worker.pid)
        worker.kill()
        await gone(cells, 2)
    assert len(cells) == 3
    async with lab.worker():
        assert len(await in_cells(lab, ids)) == 3
        assert await standing(lab, ids) == {("", 5)}


async def test_a_cell_ends_with_its_parent_also_where_the_system_does_not_see_to_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NO_DEATH_SIGNAL, "1")
    ids = await suspected(lab)
    with lab.worker_process() as worker:
        await in_cells(lab, ids)
        cells = cells_of(worker.pid)
        worker.kill()
        await gone(cells, 2)


async def test_sigterm_of_the_parent_hands_the_cells_runs_over(lab: Lab) -> None:
    ids = await suspected(lab, 3, attempts=3)
    slow = {"lease_s": 60.0}
    with lab.worker_process(**slow) as worker:
        await in_cells(lab, ids)
        cells = cells_of(worker.pid)
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 15) == 0
        await gone(cells, 0.1)
    assert await standing(lab, ids) == {("SUSPECT", 3)}
    async with lab.worker(**slow):
        await in_cells(lab, ids)
        assert await standing(lab, ids) == {("", 4)}


async def test_a_run_in_a_cell_can_be_cancelled(lab: Lab) -> None:
    ids = await suspected(lab, 2)
    async with lab.worker():
        await in_cells(lab, ids)
        assert (await lab.cancellation.cancel(await lab.get(ids[0]), 3)).status == "TERMINATED"
        assert (await lab.get(ids[1])).status == "RUNNING"


async def test_a_run_in_a_cell_gets_its_answers(lab: Lab) -> None:
    graph = chain(1, PAUSE, seconds=60.0)
    graph["nodes"].append(node("ask", REVIEW, name="Check"))
    graph["links"].append(link("in.result", "ask.data"))
    ids = await suspected(lab, graph=graph)
    async with lab.worker():
        await in_cells(lab, ids)
        lines = await lab.until(lambda: lab.journal(ids[0]), lambda lines: any(line.kind == EventKind.NODE_REVIEW for line in lines))
        asked = next(line.firing for line in lines if line.kind == EventKind.NODE_REVIEW)
        await lab.notices.signalled(await lab.signals.send([(ids[0], Signal(asked, 0, json.dumps(YES)))]))
        await lab.until(lambda: lab.journal(ids[0]), lambda lines: any(line.firing == asked and line.kind in ENDS for line in lines))


async def test_a_cell_that_hangs_is_ended_and_its_runs_are_blamed(lab: Lab) -> None:
    ids = await suspected(lab, 2)
    async with lab.worker():
        await in_cells(lab, ids)
        (hanging,) = cells_of(os.getpid())
        hanging.send_signal(signal.SIGSTOP)
        await gone([hanging], 15)
        await in_cells(lab, ids)
        assert await standing(lab, ids) == {("", 4)}


async def test_a_cell_is_the_first_to_go_when_memory_runs_out(lab: Lab) -> None:
    ids = await suspected(lab)
    async with lab.worker():
        await in_cells(lab, ids)
        (cell,) = cells_of(os.getpid())
        score = await asyncio.to_thread(Path(f"/proc/{cell.pid}/oom_score_adj").read_text)
        assert int(score) == 1000
        # Nothing secret where any account of the machine can read it.
        assert lab.settings.database_url.get_secret_value() not in " ".join(cell.cmdline())


async def test_a_run_whose_workers_are_lost_without_end_is_given_up(lab: Lab) -> None:
    ids = await suspected(lab)
    await lab.pool.execute("UPDATE execution SET losses = 100 WHERE id = $1", ids[0])
    async with lab.worker():
        record = await lab.ended(ids[0])
    assert record.status == "FAILED"
    assert "given up: 100 workers in a row" in record.error
    assert EventKind.EXECUTION_RESUMED not in [line.kind for line in await lab.journal(ids[0])]
