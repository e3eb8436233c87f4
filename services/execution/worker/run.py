"""One run on this worker: an actor that starts firings as they become ready and ends when there are none.

The state runs ahead of the journal. Firings of pure blocks run on it at once. A firing with an effect is recorded as started and waits
until that record, and so all that it depends on, is durable. Then it runs on the spot, too, if its block never awaits anything, and else
in a task. When all that is left of a run waits for a person, a time or another run, it parks: the lease ends, and nothing of it stays in
memory.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import INVALID_SPAN, Span, use_span

from mesh.logs import get_logger
from mesh.tasks import end
from services.block.sdk import BlockError, Child
from services.block.sdk.policy import OnInterrupt
from services.block.sdk.run import Suspended
from services.execution.engine.events import EventKind
from services.execution.engine.state import Firing, State
from services.execution.engine.waits import child_value
from services.execution.hooks import hook, is_armed
from services.execution.repository.leases import Claim
from services.execution.worker.endings import ending_of, parking_of
from services.execution.worker.firings import Firings, now_us
from services.execution.worker.limits import LimitReachedError, Limits
from services.execution.worker.quarantine import GIVEN_UP, MAX_ATTEMPTS
from services.execution.worker.recorder import Recorder
from services.execution.worker.replay import Standing
from services.execution.worker.tools import Tools
from services.execution.worker.waiting import Waits

_log = get_logger("execution.run")

# One run holds the event loop no longer than this at a time.
SLICE_S = 0.005
# How long a block may tidy up when it is cut off, and how often it is asked to end: the manager waits for a run longer than that.
_TIDY_S = 5.0
_TIDY_TRIES = 2
# Events recorded and not yet durable, at most: a run that outpaces the database waits for it.
MAX_AHEAD = 2000


@dataclass(slots=True)
class _Flow:
    """A firing at work on the spot: a pure block, or outputs that are known. The first `skip` of them are in the journal already, from an
    earlier attempt; `left_s` is how long it may still run. `span` is there when its start had to be durable.
    """

    firing: Firing
    outputs: Iterator[tuple[str, Any]]
    skip: int
    left_s: float = float("inf")
    count: int = 0
    span: Span | None = None


class Run:
    """Drives one execution from where its journal stands to its end, or until it waits, as long as the lease is ours."""

    def __init__(self, claim: Claim, state: State, recorder: Recorder, standing: Standing, tools: Tools) -> None:
        """`standing` is where the journal, which `state` is the fold of, leaves off."""
        self.claim = claim
        self.state = state
        self.recorder = recorder
        self._tools = tools
        self._executor = tools.executor
        self._is_traced = tools.is_traced
        self._memo = standing.memo
        self._wake = asyncio.Event()
        self._waits = Waits(claim, state, tools.answers, self._wake.set, self.cancel)
        self._firings = Firings(claim, state, recorder, tools, self._waits)
        self._firings.ready.extend(standing.ready)
        self._firings.started = {firing.index: firing for firing in standing.cut_off}
        self._flow: _Flow | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # Their start is durable: they run on the spot, next.
        self._due: deque[Firing] = deque()
        # Ready, but as many are at work as may be.
        self._throttled: deque[Firing] = deque()
        self._is_over = False
        self._is_stopping = False
        self._is_cancelled = claim.cancel_requested
        self._limit: LimitReachedError | None = None
        self._fault: BaseException | None = None
        recorder.when_advanced(self._on_advance)

    # --- From outside -------------------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """A caller wants the run stopped."""
        self._is_cancelled = True
        self._wake.set()

    def signal(self) -> None:
        """An answer has come for one of the firings that wait."""
        self._waits.signal()
        self._wake.set()

    def lose(self) -> None:
        """The lease is another's."""
        if not self.recorder.is_fenced:
            self.recorder.on_fenced()

    def stop(self) -> None:
        """This worker is going down: start nothing more; let go of what may be run again, finish what may not."""
        self._is_stopping = True
        self._wake.set()
        for index, task in list(self._tasks.items()):
            # Of a run that is over, some may still tidy up.
            firing = self._firings.started.get(index)
            if firing is not None and self._executor.on_interrupt(firing.node) is OnInterrupt.RETRY:
                task.cancel()

    async def main(self) -> bool:
        """Runs until the end is durable or the run has parked, the lease is lost, or after `stop` nothing is at work. True when the run
        goes on elsewhere.

        Raises whatever the engine did not expect; the journal is as it was recorded until then.
        """
        alarm: asyncio.TimerHandle | None = None
        # Spans of firings belong to this one: their tasks are made within it.
        with self._tools.tracer.start_as_current_span("engine.run", attributes={"execution_id": self.claim.execution_id}):
            try:
                self._resume()
                limits = Limits(self._tools.settings, self.state)
                alarm = asyncio.get_running_loop().call_later(limits.left_s(now_us()), self._hit, limits.too_long)
                await self._drive()
                await self.recorder.settle()
                return self._is_stopping and not self._is_over and not self.recorder.is_fenced
            finally:
                if alarm is not None:
                    alarm.cancel()
                await self._waits.close()
                await self._drop_tasks()

    # --- Driving ------------------------------------------------------------------------------------------------------------------------

    async def _drive(self) -> None:
        while not self._is_done():
            self._advance()
            if not self._is_done():
                self._waits.attend()
                await self._wake.wait()
                self._wake.clear()

    def _is_done(self) -> bool:
        if self._fault is not None:
            raise self._fault
        return self._is_over or self.recorder.is_fenced or (self._is_stopping and not self._tasks and not self._is_bound())

    def _is_bound(self) -> bool:
        """True while something is to end here, on the spot, that no other worker may begin again."""
        firings = [*self._due, self._flow.firing] if self._flow is not None and self._flow.span is not None else self._due
        return any(self._executor.on_interrupt(firing.node) is not OnInterrupt.RETRY for firing in firings)

    def _resume(self) -> None:
        """Records that this worker has the run, and settles what the one before left at work."""
        is_first = not self.state.started_us
        self._firings.record(EventKind.EXECUTION_STARTED if is_first else EventKind.EXECUTION_RESUMED)
        self._firings.settle()
        if self.claim.attempts > MAX_ATTEMPTS:
            _log.error("run_given_up", execution_id=self.claim.execution_id, attempts=self.claim.attempts)
            self._end(EventKind.EXECUTION_FAILED, GIVEN_UP, is_dead=True)

    def _advance(self) -> None:
        """Starts what is ready, for one slice of time, and ends or parks the run when nothing is left."""
        until = time.perf_counter() + SLICE_S
        firings = self._firings
        try:
            self._take_answers()
            while not self._is_cancelled and self._limit is None and (not self._is_stopping or self._is_bound()):
                if self.recorder.ahead >= MAX_AHEAD:
                    return
                if self._flow is None:
                    if self._due:
                        self._flow = self._begin_due(self._due.popleft())
                    elif firings.ready:
                        self._begin(firings.ready.popleft())
                    else:
                        break
                if self._flow is not None:
                    self._go_on(self._flow)
                if time.perf_counter() > until:
                    self._wake.set()
                    return
        except LimitReachedError as limit:
            self._limit = limit
        self._conclude()

    def _take_answers(self) -> None:
        if self.state.waiting and not self._is_stopping and not self._is_cancelled:
            self._firings.go_on(self._waits.due())
            for firing, answer in self._waits.answered():
                self._firings.answer(firing, answer)

    def _conclude(self) -> None:
        """Ends or parks the run if it is time."""
        if self._is_cancelled:
            self._end(EventKind.EXECUTION_TERMINATED)
        elif self._limit is not None:
            self._end(EventKind.EXECUTION_FAILED, str(self._limit))
        elif not self._is_stopping and not self.state.open_count and not self._firings.ready:
            if not self.state.waiting:
                self._end(EventKind.EXECUTION_COMPLETED)
            elif self._waits.may_park():
                self._park()

    def _begin(self, firing: Firing) -> None:
        node, firings = firing.node, self._firings
        block = node.block
        if block is None or node.obstacle:
            firings.start(firing)
            firings.end(firing, EventKind.NODE_FAILED, error=node.obstacle)
            return
        known = None if self._memo is None and not self.claim.dry_run else self._known_outputs(firing)
        if known is not None:
            firings.start(firing)
            self._flow = _Flow(firing, known, firing.emitted)
        elif block.may_wait and not firing.has_answer and firings.wait_first(firing):
            return
        elif self._executor.may_run_ahead(block):
            firings.start(firing)
            outputs = self._executor.now(firing, firings.context(firing))
            self._flow = _Flow(firing, outputs, firing.repeated, self._executor.timeout_s(node))
        elif len(firings.held) + len(self._due) + len(self._tasks) >= self._tools.settings.max_parallel_nodes:
            self._throttled.append(firing)
        else:
            firings.start(firing)
            firings.hold(firing)

    def _begin_due(self, firing: Firing) -> _Flow:
        outputs = self._executor.now(firing, self._firings.context(firing))
        span = self._tools.tracer.start_span("engine.firing", attributes=self._attributes(firing)) if self._is_traced else INVALID_SPAN
        return _Flow(firing, outputs, firing.repeated, self._executor.timeout_s(firing.node), span=span)

    def _known_outputs(self, firing: Firing) -> Iterator[tuple[str, Any]] | None:
        """What the firing gives without being run: as it did in an earlier run, or as it is taken to in a dry run."""
        known = None if self._memo is None else self._memo.outputs_of(firing)
        if known is None and self.claim.dry_run:
            known = self._executor.stub(firing.node)
        return None if known is None else iter(known)

    def _go_on(self, flow: _Flow) -> None:
        """Lets a firing emit until it ends, has emitted for long enough, or outpaces the database."""
        self._flow = None
        firing, span = flow.firing, flow.span
        try:
            if span is None or not span.is_recording():
                is_done = self._emit_for_a_slice(flow)
            else:
                with use_span(span):
                    is_done = self._emit_for_a_slice(flow)
            if not is_done:
                self._flow = flow
                return
        except Suspended:
            # Not as pure as it says: run it as one that waits. What it emitted so far stands and is not repeated.
            self._spawn(firing)
        except BlockError as error:
            self._firings.fail(firing, error)
        else:
            self._firings.complete(firing)
        finally:
            if span is not None and self._flow is not flow:
                span.end()
                self._admit()

    def _emit_for_a_slice(self, flow: _Flow) -> bool:
        """True when that was the last output."""
        began = time.perf_counter()
        until = began + SLICE_S
        for pin, value in flow.outputs:
            flow.count += 1
            if flow.count > flow.skip:
                self._firings.emit(flow.firing, pin, value)
            now = time.perf_counter()
            if now - began > flow.left_s:
                raise self._executor.too_long(flow.firing.node)
            if now > until or self.recorder.ahead >= MAX_AHEAD:
                flow.left_s -= now - began
                return False
        return True

    def _on_advance(self) -> None:
        """After each commit: firings whose start is durable begin."""
        held, committed = self._firings.held, self.recorder.committed_seq
        while held and held[0][0] <= committed and not self._is_over:
            firing = held.popleft()[1]
            if firing.index not in self._firings.children and self._executor.never_awaits(firing) and not is_armed("node.start"):
                self._due.append(firing)
            else:
                self._spawn(firing)
        self._wake.set()

    def _admit(self) -> None:
        """One less is at work."""
        if self._throttled:
            self._firings.ready.appendleft(self._throttled.popleft())

    def _hit(self, limit: LimitReachedError) -> None:
        self._limit = limit
        self._wake.set()

    # --- Firings that take their time ---------------------------------------------------------------------------------------------------

    def _spawn(self, firing: Firing) -> None:
        child = self._firings.children.pop(firing.index, None)
        task = self._tasks[firing.index] = asyncio.create_task(self._watch(firing, child), name=f"firing {firing.id}")
        # By the task's end, not in it: one that is cancelled before it begins does nothing at all.
        task.add_done_callback(lambda _: self._left(firing.index))

    def _left(self, index: int) -> None:
        del self._tasks[index]
        self._admit()
        self._wake.set()

    async def _watch(self, firing: Firing, child: Child | None) -> None:
        try:
            with self._tools.tracer.start_as_current_span("engine.firing", attributes=self._attributes(firing)):
                await (self._run_firing(firing) if child is None else self._start_child(firing, child))
        except BlockError as error:
            self._firings.fail(firing, error)
        except LimitReachedError as limit:
            self._hit(limit)
        except Exception as error:  # noqa: BLE001,RUF100 - the actor raises it
            self._fault = error

    def _attributes(self, firing: Firing) -> dict[str, str]:
        return {"execution_id": self.claim.execution_id, "node_execution_id": firing.id, "block_id": firing.node.block_id}

    async def _run_firing(self, firing: Firing) -> None:
        skip, count = firing.repeated, 0

        def emit(pin: str, value: Any) -> Awaitable[None] | None:
            nonlocal count
            count += 1
            if count > skip:
                self._firings.emit(firing, pin, value)
                self._wake.set()
            return self.recorder.wait_below(MAX_AHEAD) if self.recorder.ahead >= MAX_AHEAD else None

        await hook("node.start")
        await self._executor.run(firing, self._firings.context(firing), emit)
        self._firings.complete(firing)

    async def _start_child(self, firing: Firing, child: Child) -> None:
        old = None if self._memo is None else self._memo.child_of(firing)
        execution_id = await self._tools.children.start(self.claim, firing, child, retry_of=old)
        self._firings.wait(firing, EventKind.NODE_WAITING, child_value(execution_id))

    async def _drop_tasks(self) -> None:
        await end(*self._tasks.values(), ask_again_s=_TIDY_S, tries=_TIDY_TRIES)

    # --- The end ------------------------------------------------------------------------------------------------------------------------

    def _end(self, kind: EventKind, error: str = "", *, is_dead: bool = False) -> None:
        """Ends the run: stops what is at work, then records the last event with the run's results."""
        if self._is_over or self.recorder.is_fenced:
            return
        self._is_over = True
        for firing in list(self._firings.started.values()):
            self._firings.end(firing, EventKind.NODE_TERMINATED)
        self._firings.record(kind, error=error)
        ending = ending_of(self.claim, self.state, error, is_dead=is_dead)
        self.recorder.seal(ending)
        self._tools.meters.run_left(ending.outcome)
        self._wake.set()

    def _park(self) -> None:
        """Lets go of the run until an answer comes or its next timer ends."""
        self._is_over = True
        if self.state.review_count:
            self._firings.record(EventKind.EXECUTION_REVIEW)
        self.recorder.seal(parking_of(self.state, self._waits))
        self._tools.meters.run_left("PARKED")
        self._wake.set()
