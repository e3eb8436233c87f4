"""Does harm to a running stack: kills and stops its processes, as a seed says."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

from mesh.local.state import ProcessState, live_state

PAUSE_S = (0.8, 3.0)
# Beyond the lease of 2.5 s.
STOPPED_S = 4.0
# What is hit how often: kind of process, or a name.
TARGETS = {"worker": 6, "services": 2, "nats": 2, "postgres": 2}
STOPS_PER_KILL = 0.25


class Monkey:
    """`deeds` tells what was done when, one line each."""

    def __init__(self, home: Path, seed: int) -> None:
        self._home = home
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self.deeds: list[str] = []
        self._stopped: set[int] = set()

    async def run(self, seconds: float) -> None:
        """Goes on for some time, and leaves nothing stopped."""
        began = time.monotonic()
        stopped: list[asyncio.Task[None]] = []
        while time.monotonic() - began < seconds:
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            target = self._random.choices(list(TARGETS), list(TARGETS.values()))[0]
            pick, is_stop = self._random.random(), self._random.random() < STOPS_PER_KILL
            found = [process for process in self._processes() if target in {process.kind, process.name} and self._may_be_hit(process)]
            if not found:
                continue
            process = found[int(pick * len(found))]
            is_stop = is_stop and target == "worker"
            self.deeds.append(f"{time.monotonic() - began:6.1f} s {'stop' if is_stop else 'kill'} {process.name} ({process.pid})")
            if is_stop:
                self._stopped.add(process.pid)
                stopped.append(asyncio.create_task(_pause(process)))
            else:
                os.kill(process.pid, signal.SIGKILL)
        await asyncio.gather(*stopped)

    def _may_be_hit(self, process: ProcessState) -> bool:
        return process.is_alive and process.pid not in self._stopped

    def _processes(self) -> list[ProcessState]:
        state = live_state(self._home)
        return state.processes if state is not None else []


async def _pause(process: ProcessState) -> None:
    """SIGSTOP, then SIGCONT if it is still there."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        if process.is_alive:
            os.kill(process.pid, signal.SIGCONT)
