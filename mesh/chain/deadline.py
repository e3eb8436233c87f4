"""No call without an end."""

import asyncio
from types import TracebackType

from google.protobuf.message import Message

from mesh.call import Call
from mesh.chain.element import Leave
from mesh.errors import DeadlineExceededError, TreadleError


class Deadline:
    """Refuses calls whose time is over already: nobody waits for their answer. The dispatcher bounds the rest by `Within`."""

    name = "deadline"

    async def enter(self, call: Call, request: Message) -> Leave | None:
        """Raises DeadlineExceededError when the deadline has passed."""
        if call.remaining_s <= 0:
            raise exceeded()
        return None


class Within:
    """An async context that ends at the call's deadline: what it holds is cancelled and DeadlineExceededError comes out.

    `interrupt` ends it earlier with another error. Cancellation from outside passes through unchanged.
    """

    __slots__ = ("_call", "_error", "_timeout")

    def __init__(self, call: Call) -> None:
        """Takes effect when entered. A call whose time is over is cancelled where it first waits."""
        self._call = call
        self._error: TreadleError | None = None
        self._timeout: asyncio.Timeout | None = None

    async def __aenter__(self) -> None:
        # The clock of uvloop is not `time.monotonic()`: only differences carry over.
        self._timeout = asyncio.timeout(max(0.0, self._call.remaining_s))
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        timeout, self._timeout = self._timeout, None
        if timeout is None:
            return
        try:
            await timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise (self._error or exceeded()) from None

    def interrupt(self, error: TreadleError) -> None:
        """Cancels what is held; `error` comes out. Harmless before the start and after the end."""
        if self._timeout is not None and not self._timeout.expired():
            self._error = error
            self._timeout.reschedule(asyncio.get_running_loop().time())


def exceeded() -> DeadlineExceededError:
    """What a call ends with at its deadline."""
    return DeadlineExceededError("The deadline passed before the call was done.")
