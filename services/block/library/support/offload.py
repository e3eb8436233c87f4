"""Work whose time depends on the user's data: tried at once, and moved to a thread when it takes long, so that nothing else waits."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from services.block.sdk import BlockError

# How long the event loop may be held, and how long the work may take in all.
QUICK_S = 0.02
LIMIT_S = 2.0

T = TypeVar("T")


class TooSlowError(Exception):
    """The time that the work was given is over."""


async def bounded(work: Callable[[float], T], what: str) -> T:
    """The result of `work(limit_s)`, which raises TooSlowError when its limit is over. Raises BlockError after LIMIT_S seconds."""
    try:
        return work(QUICK_S)
    except TooSlowError:
        pass
    return await offloaded(work, what)


async def offloaded(work: Callable[[float], T], what: str) -> T:
    """As `bounded`, in a thread from the start."""
    # Whoever runs pure blocks without an event loop notices here, before a thread is at work.
    await asyncio.sleep(0)
    try:
        return await asyncio.to_thread(work, LIMIT_S)
    except TooSlowError:
        raise BlockError(f"{what} took longer than {LIMIT_S:g} seconds", kind="TimeoutError") from None
