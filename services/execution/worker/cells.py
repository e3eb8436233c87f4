"""Cells: child processes of a worker that run suspects. The parent goes on with everything else meanwhile, and nobody waits.

A cell (`cell.py`) runs one group of suspects, under a worker id and a lock of its own, and ends when these have ended, parked or been
handed over. When it dies its parent is there to say so: its runs, and nobody else's, are to blame (`looks.py`). It ends with its parent.
"""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

from mesh.logs import get_logger
from mesh.settings import Settings
from services.execution.errors import DATABASE_AWAY
from services.execution.repository.suspects import START_S, Suspects
from services.execution.worker.loops import every
from services.execution.worker_ids import cell_id

_log = get_logger("execution.cells")

# At once, of one worker: each takes the memory of a small worker.
MAX_CELLS = 8
PROGRAM: tuple[str, ...] = (sys.executable, "-P", "-m", "services.execution.worker.cell")
# Connections to the database of each: few runs, and they must not take those of others.
_POOL_SIZE = 3
# A cell that has no lease for this long and does not end hangs.
_HANGS_S = 5.0
# Beyond `drain_s`, for the rest of its end.
_END_S = 3.0
# After one that could not be started.
_PAUSE_S = 2.0


class Cells:
    """The cells of one worker."""

    def __init__(self, suspects: Suspects, worker_id: str, settings: Settings) -> None:
        self._suspects = suspects
        self._worker_id = worker_id
        self._settings = settings
        self._count = 0
        # When those that have begun were last seen to have a lease.
        self._at_work: dict[str, float] = {}
        self._processes: dict[str, Process] = {}
        self._watches: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Starts cells as there are suspects, one after the other, until cancelled."""
        await every(self._settings.sweep_s, self._sweep)

    async def stop(self) -> None:
        """Lets the cells hand their runs over, and returns when none is left."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        if self._watches:
            _, late = await asyncio.wait(self._watches, timeout=self._settings.drain_s + _END_S)
            for process in self._processes.values():
                _kill(process)
            await asyncio.gather(*late, return_exceptions=True)

    async def _sweep(self) -> None:
        await self._end_hanging()
        while len(self._processes) < MAX_CELLS:
            name = cell_id(self._worker_id, self._count + 1)
            try:
                executions = await self._suspects.reserve(name)
            except BaseException:
                # Some may be reserved under this name, until that runs out.
                self._count += 1
                raise
            if not executions:
                return
            self._count += 1
            _log.warning("suspects_reserved", cell=name, executions=executions)
            await self._start(name)

    async def _start(self, name: str) -> None:
        """Starts a cell and returns when it is at work."""
        try:
            process = await asyncio.create_subprocess_exec(*PROGRAM, name, stdin=PIPE, stdout=PIPE, env=self._environment())
        except OSError as error:
            _log.error("cell_not_started", cell=name, exc_info=error)
            await self._suspects.unreserve(name)
            await asyncio.sleep(_PAUSE_S)
            return
        self._processes[name] = process
        watch = asyncio.create_task(self._watch(name, process), name=f"cell {name}")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        if not await _is_ready(process):
            _log.error("cell_not_started", cell=name, code=process.returncode)
            _kill(process)
            await asyncio.sleep(_PAUSE_S)
        elif name in self._processes:
            self._at_work[name] = time.monotonic()

    async def _watch(self, name: str, process: Process) -> None:
        try:
            code = await process.wait()
            _log.info("cell_ended", cell=name, code=code)
            with suppress(*DATABASE_AWAY):
                await self._suspects.unreserve(name)
        finally:
            del self._processes[name]
            self._at_work.pop(name, None)

    async def _end_hanging(self) -> None:
        if not self._at_work:
            return
        now, busy = time.monotonic(), await self._suspects.at_work(list(self._at_work))
        for name, seen in self._at_work.items():
            if name in busy:
                self._at_work[name] = now
            elif now - seen > _HANGS_S:
                _log.error("cell_hangs", cell=name)
                _kill(self._processes[name])

    def _environment(self) -> dict[str, str]:
        instance = cell_id(self._settings.instance, self._count) if self._settings.instance else ""
        changes = {"instance": instance, "database_pool_size": min(self._settings.database_pool_size, _POOL_SIZE)}
        return {**os.environ, **self._settings.model_copy(update=changes).environment()}


async def _is_ready(process: Process) -> bool:
    """Waits until the cell has claimed its runs. False when it has ended before, or takes too long."""
    if process.stdout is None:
        return False
    with suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            return bool(await process.stdout.readline())
    return False


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
