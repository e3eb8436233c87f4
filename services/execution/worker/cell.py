"""A cell as a process: `python -m services.execution.worker.cell ID`, started by a worker (`cells.py`), settings in the environment.

Its standard input is open as long as its parent lives. It writes one line when it has claimed its runs.
"""

import asyncio
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import uvloop

from mesh.bus import Bus, open_bus
from mesh.database import open_database
from mesh.logs import configure, get_logger
from mesh.metrics import Metrics
from mesh.settings import Settings
from mesh.telemetry import Tracing, make_tracing
from mesh.watchdog import watching
from services.execution.errors import DATABASE_AWAY
from services.execution.hooks import arm_plan
from services.execution.repository.suspects import Suspects
from services.execution.worker.holder import Holder, Means

_log = get_logger("execution.cell")

# The schema is the execution service's, as for the worker.
_SCHEMA = "execution"
_RETRY_S = 0.25
# How often it is tried to give back what is left at the end.
_TRIES = 8
PR_SET_PDEATHSIG = 1
# The first to go when memory runs out: before its parent, and before the database.
_OOM_SCORE = b"1000"


class Cell:
    """Runs one group of suspects."""

    def __init__(self, means: Means, pool: asyncpg.Pool, cell_id: str) -> None:
        self._holder = Holder(means, pool, cell_id)
        self._suspects = Suspects(pool, means.settings.lease_s)

    async def run(self, begun: Callable[[], None]) -> None:
        """Runs what is reserved for it to the end, or until cancelled: then it hands its runs over. Calls `begun` when they are here."""
        self._holder.start()
        try:
            # Others must see that this cell lives, and that it dies.
            await self._holder.liveness.held.wait()
            await self._take()
            begun()
            await self._until_empty()
        finally:
            await self._holder.stop()
            await self._give_back()

    async def _take(self) -> None:
        while True:
            try:
                claims = await self._suspects.claim(self._holder.id)
                break
            except DATABASE_AWAY as error:
                _log.warning("database_away", step="claim", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)
        _log.info("suspects_claimed", executions=[claim.execution_id for claim in claims])
        await self._holder.keeper.accept(claims)

    async def _until_empty(self) -> None:
        manager = self._holder.manager
        while manager.held:
            manager.slot_freed.clear()
            await manager.slot_freed.wait()

    async def _give_back(self) -> None:
        """A claim whose answer was lost must not be taken for a death of this cell."""
        for _ in range(_TRIES):
            with suppress(*DATABASE_AWAY):
                await self._holder.leases.take_back(self._holder.id, is_over=True)
                return
            await asyncio.sleep(_RETRY_S)


class _Own:
    """The means of a cell: no doors, no clients of other services, which a run does without."""

    def __init__(self, settings: Settings, tracing: Tracing) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.tracer = tracing.tracer
        self._bus: Bus | None = None

    async def bus(self) -> Bus:
        self._bus = await open_bus(self.settings.nats_url, self.settings.instance or "cell")
        return self._bus

    async def close(self) -> None:
        if self._bus is not None:
            await self._bus.close()


async def _main(cell_id: str, begun: Callable[[], None]) -> None:
    settings = Settings()
    configure(settings, "cell")
    arm_plan(settings.test_hooks)
    tracing = make_tracing(settings, "worker")
    database = await open_database(settings, _SCHEMA)
    means = _Own(settings, tracing)
    cell = Cell(means, database.pool, cell_id)
    work = asyncio.create_task(cell.run(begun), name="cell")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        with watching(settings.watchdog_s):
            await asyncio.wait({work})
        if not work.cancelled() and (error := work.exception()) is not None:
            _log.error("cell_broke", exc_info=error)
    finally:
        await means.close()
        await database.close()
        await asyncio.to_thread(tracing.shutdown)


def _end_with_parent() -> None:
    """Ends this process at once when its parent is gone, also while the event loop stands still."""
    with suppress(OSError, AttributeError):
        # Linux; elsewhere the thread must do.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_parent, name="parent", daemon=True).start()


def _watch_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _be_first_to_go() -> None:
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_OOM_SCORE)


def main(cell_id: str) -> None:
    """Runs the cell with this id until its runs have ended, or SIGTERM."""
    _end_with_parent()
    _be_first_to_go()
    # What a block prints belongs with the logs.
    parent = os.dup(1)
    os.dup2(2, 1)
    uvloop.run(_main(cell_id, lambda: _tell(parent)))


def _tell(parent: int) -> None:
    with suppress(OSError):
        os.write(parent, b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
