"""Ends calls whose client has left."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from mesh.tasks import ASK_AGAIN_S

# A call that is done sooner is not worth watching for: that costs a task, and most calls are.
WATCH_AFTER_S = 0.05


class WhileClientStays:
    """A context that cancels what it holds when the client has gone, and then ends quietly with `is_gone` set.

    Cancellation from elsewhere passes through. What a handler shields from cancellation goes on.
    """

    def __init__(self, client_gone: Callable[[], Awaitable[None]]) -> None:
        """`client_gone` returns when the client has left."""
        self.is_gone = False
        self._client_gone = client_gone
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._asked = 0

    def __enter__(self) -> "WhileClientStays":
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._start)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if not self.is_gone or task is None:
            return False
        for _ in range(self._asked):
            task.uncancel()
        return task.cancelling() == 0 and kind is asyncio.CancelledError

    def _start(self) -> None:
        self._watch = asyncio.create_task(self._wait(), name="client")

    async def _wait(self) -> None:
        await self._client_gone()
        # As `mesh.tasks.end` does: a library may swallow a cancellation.
        while self._task is not None:
            self.is_gone = True
            self._asked += 1
            self._task.cancel()
            await asyncio.sleep(ASK_AGAIN_S)
