"""Loops that a worker runs as long as it lives."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import nats.errors

from mesh.logs import get_logger
from mesh.tasks import end
from services.execution.errors import DATABASE_AWAY
from services.execution.worker.rounds import Rounds

_log = get_logger("execution.worker")

Loop = Coroutine[Any, Any, None]


class Loops:
    """Named loops, each in a task of its own."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def are_running(self) -> bool:
        """True while none has ended that was not told to."""
        return not any(task.done() for task in self._tasks.values())

    def start(self, loops: dict[str, Loop]) -> None:
        """Starts loops. One that ends by an error says so in the log."""
        for name, loop in loops.items():
            self._tasks[name] = asyncio.create_task(loop, name=f"worker {name}")
            self._tasks[name].add_done_callback(_report)

    async def end(self) -> None:
        """Ends all loops and waits for their ends."""
        tasks, self._tasks = self._tasks, {}
        await end(*tasks.values())


async def every(period_s: float, step: Callable[[], Awaitable[None]], rounds: Rounds | None = None) -> None:
    """Does a step again and again until cancelled, whatever becomes of it, with a pause of `period_s` after each. `rounds` hears of it."""
    name = step.__qualname__
    if rounds is not None:
        rounds.done(name)
    while True:
        try:
            await step()
            if rounds is not None:
                rounds.done(name, period_s)
        except Exception as error:  # noqa: BLE001,RUF100 - the next time may do better; a loop that ended would leave runs without care
            failed(step.__name__, error)
        await asyncio.sleep(period_s)


def failed(step: str, error: Exception) -> None:
    """Notes that a step failed which is done again."""
    if isinstance(error, (*DATABASE_AWAY, nats.errors.Error)):
        _log.warning("step_waits", step=step, error=type(error).__name__)
    else:
        _log.error("step_failed", step=step, exc_info=error)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("worker_loop_broke", loop=task.get_name(), exc_info=error)
