"""One writer that commits together what came while the commit before was in flight.

Under light load an item is committed at once; under heavy load batches grow by themselves, so one disk flush pays for many items.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# More than this in one statement gains nothing and makes everyone wait for the slowest.
DEFAULT_MAX_BATCH = 500
# A busy loop must not keep those waiting who are ready.
GATHER_S = 0.002


class GroupCommit(Generic[T]):
    """Gathers items and hands them to `commit` in batches, in order, one batch at a time.

    `commit` answers for its items itself (futures, callbacks, retries) and must not raise. An item is handed over exactly once.
    """

    def __init__(self, commit: Callable[[list[T]], Awaitable[None]], *, max_batch: int = DEFAULT_MAX_BATCH, turns: int = 1) -> None:
        """`turns` of the loop, at most GATHER_S in all, lie before each batch. One lets everything that is ready now join; more let those
        join who go on when the batch before is done, which else would be split into two groups that commit in turn, each half as large.
        """
        self._commit = commit
        self._turns = turns
        self._max_batch = max_batch
        self._waiting: deque[T] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, item: T) -> None:
        """Queues an item for the next batch. Returns at once."""
        self._waiting.append(item)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Commits batches until cancelled. What is queued then is dropped: call `drain` first."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._gather()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
                await self._commit(batch)
                await self._gather()
            self._idle.set()

    async def _gather(self) -> None:
        until = time.monotonic() + GATHER_S
        for _ in range(self._turns):
            await asyncio.sleep(0)
            if time.monotonic() > until:
                return

    async def drain(self) -> None:
        """Returns when nothing is queued and no commit is in flight."""
        await self._idle.wait()
