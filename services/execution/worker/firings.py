"""What happens to the firings of one run, recorded as it happens: they start, emit, wait, go on, are tried again, end."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from services.block.sdk import BlockContext, BlockError, Child, Review, Timer, Wait
from services.block.sdk.policy import OnInterrupt
from services.execution.engine.events import EventKind
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from services.execution.engine.waits import WaitKind, approval, interruption_value, retry_value, review_value, timer_value
from services.execution.repository.leases import Claim
from services.execution.worker.context import FiringContext
from services.execution.worker.limits import Limits
from services.execution.worker.recorder import Recorder, ValueTooLargeError
from services.execution.worker.tools import Tools
from services.execution.worker.waiting import Waits

INTERRUPTED = "interrupted: the worker was lost while this node ran, and running it again could repeat its effect"
_QUESTION = "The worker was lost while this node ran. Running it again could repeat its effect. Run it again?"


class Firings:
    """The firings of one run that are not done.

    `ready` are to be begun, in order. `started` are at work, by index. Of these, `held` are recorded and wait until that is durable (with
    the event that must be); `children` are about to start another run.
    """

    def __init__(self, claim: Claim, state: State, recorder: Recorder, tools: Tools, waits: Waits) -> None:
        self.ready: deque[Firing] = deque()
        self.started: dict[int, Firing] = {}
        self.held: deque[tuple[int, Firing]] = deque()
        self.children: dict[int, Child] = {}
        self._claim = claim
        self._state = state
        self._recorder = recorder
        self._tools = tools
        self._waits = waits
        self._limits = Limits(tools.settings, state)
        # They have got what they waited for: they go on, they are not started again.
        self._resumed: set[int] = set()

    def context(self, firing: Firing) -> BlockContext:
        """What the block of a firing may know."""
        return FiringContext(self._claim, firing, self._tools.executor.http_allow_hosts)

    def record(
        self, kind: EventKind, firing: Firing | None = None, ordinal: int = 0, pin: str = "", value: Any = None, *, error: str = ""
    ) -> None:
        """Records an event; what became ready by it is to be begun."""
        self.ready.extend(self._recorder.record(kind, firing, ordinal, pin, value, error=error))

    def settle(self) -> None:
        """Decides about what an earlier worker left at work: run again, failed, or a matter for a person."""
        again = [firing for firing in list(self.started.values()) if self._may_repeat(firing)]
        self.ready.extendleft(reversed(again))

    def _may_repeat(self, firing: Firing) -> bool:
        says = None if firing.course is None else firing.course.may_repeat
        policy = self._tools.executor.on_interrupt(firing.node)
        if says or policy is OnInterrupt.RETRY or self._is_before_wait(firing):
            return True
        if says is None and policy is OnInterrupt.ASK:
            self.wait(firing, EventKind.NODE_REVIEW, interruption_value(_QUESTION))
        else:
            self.end(firing, EventKind.NODE_FAILED, error=INTERRUPTED)
        return False

    def _is_before_wait(self, firing: Firing) -> bool:
        """True when a firing had not come to its wait yet, so its block has not run."""
        try:
            return not firing.has_answer and self._tools.executor.wait_for(firing, self.context(firing)) is not None
        except BlockError:
            return True

    def start(self, firing: Firing) -> None:
        """An attempt begins, or goes on with an answer."""
        self.started[firing.index] = firing
        if firing.index in self._resumed:
            self._resumed.discard(firing.index)
        else:
            self.record(EventKind.NODE_STARTED, firing, firing.attempt + 1, "", firing.inputs)

    def hold(self, firing: Firing) -> None:
        """It has started, and goes on when that is durable."""
        self.held.append((self._recorder.recorded_seq, firing))

    def emit(self, firing: Firing, pin: str, value: Any) -> None:
        """An output. Raises LimitReachedError, and BlockError for what is no JSON or too large."""
        self._limits.check(self._recorder.recorded_bytes)
        try:
            self.record(EventKind.NODE_OUTPUT, firing, firing.emitted, pin, value)
        except ValueTooLargeError as error:
            raise BlockError(f"the value on pin {pin} holds {error}", kind=type(error).__name__) from error
        except (TypeError, ValueError) as error:
            raise BlockError(f"the value on pin {pin} cannot be written as JSON", kind=type(error).__name__) from error

    def complete(self, firing: Firing) -> None:
        """Its block has ended well; some then wait again."""
        block = firing.node.block
        if block is not None and block.waits_again and firing.has_answer and self.wait_first(firing):
            return
        self.end(firing, EventKind.NODE_COMPLETED)

    def fail(self, firing: Firing, error: BlockError) -> None:
        """Its block has failed: another attempt follows, if its node says so, or it ends."""
        retry = firing.node.policy.retry
        failures = 1 + (0 if firing.course is None else firing.course.failures)
        if retry is None or not retry.allows(failures, error):
            self.end(firing, EventKind.NODE_FAILED, error=error.message)
            return
        until_us = now_us() + round(retry.pause_s(failures) * 1e6)
        self.wait(firing, EventKind.NODE_WAITING, retry_value(firing.attempt + 1, until_us), error=error.message)
        self._tools.meters.attempt_ended(firing.node.title, Status.WAITING, (now_us() - firing.started_us) / 1e6)

    def end(self, firing: Firing, kind: EventKind, *, error: str = "") -> None:
        """It has ended."""
        self.started.pop(firing.index, None)
        self.record(kind, firing, error=error)
        if firing.status.is_ended:
            self._tools.meters.attempt_ended(firing.node.title, firing.status, (firing.ended_us - firing.started_us) / 1e6)

    # --- Waits --------------------------------------------------------------------------------------------------------------------------

    def wait_first(self, firing: Firing) -> bool:
        """True when its block has to wait before it runs, or cannot even say for what; all of that is recorded then."""
        try:
            wait = self._tools.executor.wait_for(firing, self.context(firing))
            if wait is None:
                return False
            if firing.index not in self.started:
                self.start(firing)
            self._begin_wait(firing, wait)
        except BlockError as error:
            if firing.index not in self.started:
                self.start(firing)
            self.fail(firing, error)
        return True

    def _begin_wait(self, firing: Firing, wait: Wait) -> None:
        if isinstance(wait, Child):
            # The other run must not be there before it is sure that this one will ask for it.
            self.children[firing.index] = wait
            self.hold(firing)
        elif isinstance(wait, Timer):
            self.wait(firing, EventKind.NODE_WAITING, timer_value(now_us() + round(wait.delay_s * 1e6)))
        else:
            self._ask(firing, wait)

    def _ask(self, firing: Firing, review: Review) -> None:
        try:
            self.wait(firing, EventKind.NODE_REVIEW, review_value(review))
        except (TypeError, ValueError) as error:
            raise BlockError("what is to be reviewed cannot be written as JSON", kind=type(error).__name__) from error
        if firing.wait is not None and (firing.node.index in self._state.auto_approved or self._claim.dry_run):
            self.answer(firing, approval(firing.wait))

    def wait(self, firing: Firing, kind: EventKind, value: dict[str, Any], *, error: str = "") -> None:
        """It waits from now on."""
        self.record(kind, firing, ordinal=firing.waits, value=value, error=error)
        self.started.pop(firing.index, None)
        self._waits.add(firing)

    def answer(self, firing: Firing, answer: Any) -> None:
        """It has got what it waited for."""
        wait = firing.wait
        self.record(EventKind.NODE_RESUMED, firing, ordinal=firing.waits, value=answer)
        if wait is None or firing.wait is not None:
            return
        self.started[firing.index] = firing
        if wait.kind is not WaitKind.INTERRUPTION:
            self._resumed.add(firing.index)
        elif firing.course is None or not firing.course.may_repeat:
            self.end(firing, EventKind.NODE_FAILED, error=f"{INTERRUPTED}; a person decided against it")
            return
        self.ready.append(firing)

    def go_on(self, due: Iterable[Firing]) -> None:
        """Their time has come."""
        for firing in due:
            if firing.wait is not None and firing.wait.kind is WaitKind.RETRY:
                self.ready.append(firing)
            else:
                self.answer(firing, None)


def now_us() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000
