"""Kills workers under load and tells how long their runs stood still."""

import asyncio
import datetime as dt
import os
import signal
import time
from bisect import bisect_right
from typing import Any

from mesh.cli.load import percentiles_ms
from mesh.cli.output import note
from mesh.local.state import StackState

# The load is under way after the first pause; the next worker goes when the one before is back.
_FIRST_KILL_S = 0.3
_NEXT_KILL_S = 4.0


class Killer:
    """Kills every worker of a stack once, one after the other. `kills` are the times, seconds since 1970."""

    def __init__(self, state: StackState) -> None:
        self._workers = [process for process in state.processes if process.kind == "worker"]
        self.kills: list[float] = []

    async def run(self) -> None:
        """Returns when all were killed."""
        pause_s = _FIRST_KILL_S
        for process in self._workers:
            await asyncio.sleep(pause_s)
            note(f"killing {process.name} (pid {process.pid})")
            self.kills.append(time.time())
            os.kill(process.pid, signal.SIGKILL)
            pause_s = _NEXT_KILL_S

    def recovery(self, journals: list[list[dict[str, Any]]]) -> dict[str, float]:
        """From the kill of a run's worker to the next event of the run, in milliseconds, over all runs that lost one."""
        resumed = (_seconds(event["time"]) for events in journals for event in events if event["kind"] == "EVENT_KIND_EXECUTION_RESUMED")
        gaps = [time_s - self.kills[at - 1] for time_s in resumed if (at := bisect_right(self.kills, time_s))]
        return {"runs": len(gaps), **percentiles_ms(gaps)}


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()
