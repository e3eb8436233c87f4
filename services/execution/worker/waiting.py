"""What the firings of one run wait for, on the worker that has it: timers that end, answers that come, and when the run may park."""

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mesh import jsontext
from mesh.tasks import end
from services.block.sdk import Child
from services.execution.engine.state import Firing, State
from services.execution.engine.waits import WaitKind
from services.execution.errors import DATABASE_AWAY
from services.execution.repository.leases import Claim
from services.execution.repository.signals import Pending

# A run whose next timer ends this soon keeps its place: to park and to be woken costs more.
NEAR_US = 1_000_000
_RETRY_S = 0.25


class Answers(Protocol):
    """Where answers are read."""

    async def pending(self, execution_id: str, waits: Sequence[tuple[int, int]]) -> Pending:
        """The answers to those of the waits, given as (firing index, wait number), that have one."""


class Children(Protocol):
    """Where child runs are started."""

    async def start(self, claim: Claim, firing: Firing, child: Child, *, retry_of: str | None = None) -> str:
        """Starts a run for the firing's present wait, once however often it is called, one that goes on from `retry_of`. Returns its id.
        Raises BlockError when refused.
        """


class Waits:
    """The waits of one run. `signals_seen` is how many answers had come when they were last read."""

    def __init__(self, claim: Claim, state: State, answers: Answers, wake: Callable[[], None], cancel: Callable[[], None]) -> None:
        """`wake` is called when a timer ends or answers were read, `cancel` before these when the run was cancelled: a child that ended
        with it is no failed child.
        """
        self.signals_seen = 0
        self._claim = claim
        self._state = state
        self._answers = answers
        self._wake = wake
        self._cancel = cancel
        self._timers: list[tuple[int, int]] = []
        # By firing and wait: an answer may be read twice before the run takes it.
        self._read: dict[tuple[int, int], Any] = {}
        self._is_unread = False
        self._reader: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_us = 0
        for firing in state.waiting.values():
            self.add(firing)

    def add(self, firing: Firing) -> None:
        """A firing has begun to wait."""
        wait = firing.wait
        if wait is None:
            return
        if wait.until_us is not None:
            heapq.heappush(self._timers, (wait.until_us, firing.index))
        else:
            # The answer may have been there before the wait was: a child run can be fast.
            self._is_unread = True

    def signal(self) -> None:
        """Answers may have come."""
        self._is_unread = True

    @property
    def next_us(self) -> int | None:
        """When the next timer ends."""
        return self._timers[0][0] if self._timers else None

    def due(self) -> list[Firing]:
        """The firings whose timers have ended, in that order."""
        found = []
        now_us = time.time_ns() // 1000
        while self._timers and self._timers[0][0] <= now_us:
            until_us, index = heapq.heappop(self._timers)
            firing = self._state.waiting.get(index)
            if firing is not None and firing.wait is not None and firing.wait.until_us == until_us:
                found.append(firing)
        return found

    def answered(self) -> list[tuple[Firing, Any]]:
        """Answers that were read since the last call, for firings that still wait for them."""
        found, self._read = self._read, {}
        waiting = self._state.waiting
        return [(waiting[index], answer) for (index, wait), answer in found.items() if index in waiting and waiting[index].waits == wait]

    def may_park(self) -> bool:
        """True when all answers are read and no timer ends soon."""
        if self._is_unread or self._reader is not None or self._read:
            return False
        return self.next_us is None or self.next_us > time.time_ns() // 1000 + NEAR_US

    def attend(self) -> None:
        """Sees to it that timers and answers wake the run."""
        if self._is_unread and self._reader is None and self._state.waiting:
            self._reader = asyncio.create_task(self._read_answers(), name=f"answers of {self._claim.execution_id}")
        next_us = self.next_us
        if next_us is not None and (self._alarm is None or next_us < self._alarm_us):
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_us = next_us
            delay_s = max(next_us - time.time_ns() // 1000, 0) / 1e6
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self._ring)

    async def close(self) -> None:
        """Stops to attend."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._reader is not None:
            await end(self._reader)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()

    async def _read_answers(self) -> None:
        try:
            while self._is_unread:
                self._is_unread = False
                asked = [
                    (firing.index, firing.waits)
                    for firing in self._state.waiting.values()
                    if firing.wait is not None and firing.wait.kind not in (WaitKind.TIMER, WaitKind.RETRY)
                ]
                try:
                    pending = await self._answers.pending(self._claim.execution_id, asked)
                except DATABASE_AWAY:
                    self._is_unread = True
                    await asyncio.sleep(_RETRY_S)
                    continue
                self.signals_seen = pending.signals_seen
                if pending.is_cancelled:
                    self._cancel()
                self._read.update({(signal.firing, signal.wait): jsontext.loads(signal.answer) for signal in pending.signals})
        finally:
            self._reader = None
            self._wake()
