"""Forgets what is older than the settings say."""

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from mesh.logs import get_logger
from mesh.tasks import end

# Between two looks. The first comes after a part of it, so that processes that start together do not look together.
EVERY_S = 3600.0

_log = get_logger("mesh.retention")

# Forgets what is older than a time, a part at a time; how much went. Asked again until nothing goes.
Forget = Callable[[dt.datetime], Awaitable[int]]


@asynccontextmanager
async def forgetting(what: str, days: int, forget: Forget, every_s: float = EVERY_S) -> AsyncIterator[None]:
    """Forgets in the background while the context lasts; nothing when `days` is 0. `what` stands in the log."""
    if not days:
        yield
        return
    task = asyncio.create_task(_run(what, dt.timedelta(days=days), forget, every_s), name=f"forget {what}")
    try:
        yield
    finally:
        await end(task)


async def _run(what: str, life: dt.timedelta, forget: Forget, every_s: float) -> None:
    pause_s = every_s * random.random()  # noqa: S311 - spreads load
    while True:
        await asyncio.sleep(pause_s)
        pause_s = every_s
        try:
            while await forget(dt.datetime.now(dt.UTC) - life):
                _log.info("forgotten", what=what)
        except Exception as error:  # whatever it was, the next look tries again
            _log.warning("forgetting_failed", what=what, fault=type(error).__name__)
