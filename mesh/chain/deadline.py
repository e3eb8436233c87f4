"""No call without an end."""

import asyncio
import time
from types import TracebackType
from typing import Any

from mesh.call import Call
from mesh.chain.element import Leave
from mesh.errors import DeadlineExceededError, TreadleError

TICK_S = 0.025


class Deadline:
    """Refuses calls whose time is over already: nobody waits for their answer. The dispatcher bounds the rest by `Deadlines`."""

    name = "deadline"

    async def enter(self, call: Call) -> Leave | None:
        """Raises DeadlineExceededError when the deadline has passed."""
        if call.remaining_s <= 0:
            raise exceeded()
        return None


class Deadlines:
    """Ends what is past its deadline, at most TICK_S late. One timer serves all calls: a timer for each takes a fifth of a server's time.

    Holds that end in the same tick share a slot, so that to enter and to leave cost a look-up, however many there are.
    """

    def __init__(self) -> None:
        """Starts its timer when first needed, in the running event loop; stops it when nothing is held."""
        self._slots: dict[int, set[Within]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """How many contexts are open."""
        return sum(map(len, self._slots.values()))

    def within(self, call: Call) -> "Within":
        """A context that ends at the call's deadline."""
        return Within(self, call)

    def add(self, slot: int, held: "Within") -> None:
        """Called by `Within`."""
        found = self._slots.get(slot)
        if found is None:
            self._slots[slot] = {held}
        else:
            found.add(held)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def discard(self, slot: int, held: "Within") -> None:
        """Called by `Within`."""
        found = self._slots.get(slot)
        if found is not None:
            found.discard(held)
            if not found:
                del self._slots[slot]

    def _tick(self) -> None:
        self._timer = None
        now = int(time.monotonic() / TICK_S)
        for slot in [slot for slot in self._slots if slot <= now]:
            for held in self._slots.pop(slot):
                held.be_late()
        if self._slots:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)


class Within:
    """A context that ends at the call's deadline: what it holds is cancelled and DeadlineExceededError comes out.

    `interrupt` ends it earlier with another error. Cancellation from outside passes through unchanged; so does the count of
    `Task.cancelling`, as with `asyncio.timeout`.
    """

    __slots__ = ("_call", "_cancelling", "_deadlines", "_error", "_slot", "_task")

    def __init__(self, deadlines: Deadlines, call: Call) -> None:
        """Takes effect when entered. A call whose time is over is cancelled where it waits at the next tick."""
        self._deadlines = deadlines
        self._call = call
        self._task: asyncio.Task[Any] | None = None
        self._error: TreadleError | None = None
        self._cancelling = 0
        self._slot = 0

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("calls run in tasks")
        self._cancelling = self._task.cancelling()
        self._slot = int(self._call.deadline / TICK_S) + 1
        self._deadlines.add(self._slot, self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        task, self._task = self._task, None
        self._deadlines.discard(self._slot, self)
        if self._error is None or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._error from None

    @property
    def call(self) -> Call:
        """The call whose deadline it is."""
        return self._call

    def be_late(self) -> None:
        """Ends it as the call says it ends at its deadline."""
        self.interrupt(overdue(self._call))

    def interrupt(self, error: TreadleError) -> None:
        """Cancels what is held; `error` comes out. Harmless before the start, after the end and when repeated."""
        if self._task is not None and self._error is None:
            self._error = error
            self._task.cancel()


def exceeded() -> DeadlineExceededError:
    """What a call ends with at its deadline."""
    return DeadlineExceededError("The deadline passed before the call was done.")


def overdue(call: Call) -> TreadleError:
    """What this call ends with at its deadline."""
    return call.late or exceeded()
