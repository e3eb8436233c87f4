"""One run on this worker: an actor that starts firings as they become ready and ends when there are none.

The state runs ahead of the journal. Firings of pure blocks run on it at once. A firing with an effect is recorded as started and waits
until that record, and so all that it depends on, is durable.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mesh import jsontext
from mesh.logs import get_logger
from mesh.settings import Settings
from services.block.sdk import BlockContext, BlockError
from services.block.sdk.run import Suspended
from services.execution.engine.events import EventKind
from services.execution.engine.outcome import conclude
from services.execution.engine.state import Firing, State
from services.execution.worker.executor import NodeExecutor
from services.execution.worker.hooks import hook
from services.execution.worker.journal import Ending
from services.execution.worker.leases import Claim
from services.execution.worker.quarantine import GIVEN_UP, MAX_ATTEMPTS
from services.execution.worker.recorder import Recorder, ValueTooLargeError

_log = get_logger("execution.run")

# One run holds the event loop no longer than this at a time.
SLICE_S = 0.005
# Events recorded and not yet durable, at most: a run that outpaces the database waits for it.
MAX_AHEAD = 2000
# All values of a run together. Beyond it nobody reads them and everything they pass through suffers.
MAX_VALUE_BYTES = 256 * 1024 * 1024

INTERRUPTED = "interrupted: the worker was lost while this node ran, and running it again could repeat its effect"


class LimitReachedError(Exception):
    """The run hit one of its limits; the message says which."""


@dataclass(frozen=True, slots=True)
class OpenFirings:
    """Where a journal stands: firings to start, in order, and those that an earlier worker started and did not finish."""

    ready: list[Firing]
    cut_off: list[Firing]


@dataclass(slots=True)
class _Flow:
    """A pure firing at work. The first `skip` outputs are in the journal already, from an earlier attempt."""

    firing: Firing
    outputs: Iterator[tuple[str, Any]]
    skip: int
    count: int = 0


class Run:
    """Drives one execution from where its journal stands to its end, as long as the lease is ours."""

    def __init__(
        self,
        claim: Claim,
        state: State,
        recorder: Recorder,
        open_firings: OpenFirings,
        *,
        executor: NodeExecutor,
        settings: Settings,
    ) -> None:
        self.claim = claim
        self.state = state
        self.recorder = recorder
        self._executor = executor
        self._settings = settings
        self._ready = deque(open_firings.ready)
        self._cut_off = open_firings.cut_off
        self._flow: _Flow | None = None
        # Started, not ended, by index; of these: recorded and waiting for the commit (with its seq), and at work as tasks.
        self._started: dict[int, Firing] = {firing.index: firing for firing in open_firings.cut_off}
        self._held: deque[tuple[int, Firing]] = deque()
        self._parked: deque[Firing] = deque()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._is_over = False
        self._is_stopping = False
        self._is_cancelled = claim.cancel_requested
        self._fault: BaseException | None = None
        recorder.when_advanced(self._on_advance)

    # --- From outside -------------------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """A caller wants the run stopped."""
        self._is_cancelled = True
        self._wake.set()

    def signal(self) -> None:
        """An answer has come for one of the firings that wait."""
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
            block = self._started[index].node.block
            if block is not None and self._executor.is_repeatable(block):
                task.cancel()

    async def main(self) -> bool:
        """Runs until the end is durable, the lease is lost, or after `stop` nothing is at work. True when the run goes on elsewhere.

        Raises whatever the engine did not expect; the journal is as it was recorded until then.
        """
        try:
            self._resume()
            while not self._is_done():
                self._advance()
                if not self._is_done():
                    await self._wake.wait()
                    self._wake.clear()
            await self.recorder.settle()
            return self._is_stopping and not self._is_over and not self.recorder.is_fenced
        finally:
            await self._drop_tasks()

    # --- Driving ------------------------------------------------------------------------------------------------------------------------

    def _is_done(self) -> bool:
        if self._fault is not None:
            raise self._fault
        return self._is_over or self.recorder.is_fenced or (self._is_stopping and not self._tasks)

    def _resume(self) -> None:
        """Records that this worker has the run, and settles what the one before left at work."""
        is_first = not self.state.started_us
        self._record(EventKind.EXECUTION_STARTED if is_first else EventKind.EXECUTION_RESUMED)
        again = []
        for firing in self._cut_off:
            block = firing.node.block
            if block is not None and self._executor.is_repeatable(block):
                again.append(firing)
            else:
                self._end_firing(firing, EventKind.NODE_FAILED, error=INTERRUPTED)
        self._ready.extendleft(reversed(again))
        if self.claim.attempts > MAX_ATTEMPTS:
            _log.error("run_given_up", execution_id=self.claim.execution_id, attempts=self.claim.attempts)
            self._end(EventKind.EXECUTION_FAILED, GIVEN_UP, is_dead=True)

    def _advance(self) -> None:
        """Starts what is ready, for one slice of time, and ends the run when nothing is left."""
        until = time.perf_counter() + SLICE_S
        try:
            while not self._is_stopping and not self._is_cancelled:
                if self.recorder.ahead >= MAX_AHEAD:
                    return
                if self._flow is None:
                    if not self._ready:
                        break
                    self._begin(self._ready.popleft())
                if self._flow is not None:
                    self._go_on(self._flow)
                if time.perf_counter() > until:
                    self._wake.set()
                    return
        except LimitReachedError as limit:
            self._end(EventKind.EXECUTION_FAILED, str(limit))
            return
        if self._is_cancelled:
            self._end(EventKind.EXECUTION_TERMINATED)
        elif not self._is_stopping and not self.state.open_count:
            self._end(EventKind.EXECUTION_COMPLETED)

    def _begin(self, firing: Firing) -> None:
        node, executor = firing.node, self._executor
        if node.block is None or node.obstacle:
            self._start(firing)
            self._end_firing(firing, EventKind.NODE_FAILED, error=node.obstacle)
        elif executor.may_run_ahead(node.block):
            skip = firing.emitted
            self._start(firing)
            self._flow = _Flow(firing, executor.now(firing, self._context(firing)), skip)
        elif len(self._held) + len(self._tasks) >= self._settings.max_parallel_nodes:
            self._parked.append(firing)
        else:
            self._start(firing)
            self._held.append((self.recorder.recorded_seq, firing))

    def _go_on(self, flow: _Flow) -> None:
        """Lets a pure firing emit until it ends, has emitted for long enough, or outpaces the database."""
        until = time.perf_counter() + SLICE_S
        firing = flow.firing
        try:
            for pin, value in flow.outputs:
                flow.count += 1
                if flow.count > flow.skip:
                    self._emit(firing, flow.count - 1, pin, value)
                if time.perf_counter() > until or self.recorder.ahead >= MAX_AHEAD:
                    return
        except Suspended:
            # Not as pure as it says: run it as one that waits. What it emitted so far stands and is not repeated.
            self._spawn(firing)
        except BlockError as error:
            self._end_firing(firing, EventKind.NODE_FAILED, error=error.message)
        else:
            self._end_firing(firing, EventKind.NODE_COMPLETED)
        self._flow = None

    def _on_advance(self) -> None:
        """After each commit: firings whose start is durable begin."""
        held, committed = self._held, self.recorder.committed_seq
        while held and held[0][0] <= committed and not self._is_over:
            self._spawn(held.popleft()[1])
        self._wake.set()

    # --- Firings that wait --------------------------------------------------------------------------------------------------------------

    def _spawn(self, firing: Firing) -> None:
        self._tasks[firing.index] = asyncio.create_task(self._run_firing(firing), name=f"firing {firing.id}")

    async def _run_firing(self, firing: Firing) -> None:
        skip, count = firing.emitted, 0

        def emit(pin: str, value: Any) -> Awaitable[None] | None:
            nonlocal count
            count += 1
            if count > skip:
                self._emit(firing, count - 1, pin, value)
                self._wake.set()
            return self.recorder.wait_below(MAX_AHEAD) if self.recorder.ahead >= MAX_AHEAD else None

        try:
            await hook("node.start")
            await self._executor.run(firing, self._context(firing), emit, is_dry=self.claim.dry_run)
            self._end_firing(firing, EventKind.NODE_COMPLETED)
        except BlockError as error:
            self._end_firing(firing, EventKind.NODE_FAILED, error=error.message)
        except LimitReachedError as limit:
            self._end(EventKind.EXECUTION_FAILED, str(limit))
        except Exception as error:  # noqa: BLE001,RUF100 - the actor raises it
            self._fault = error
        finally:
            del self._tasks[firing.index]
            if self._parked:
                self._ready.appendleft(self._parked.popleft())
            self._wake.set()

    async def _drop_tasks(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _context(self, firing: Firing) -> BlockContext:
        claim = self.claim
        return BlockContext(
            execution_id=claim.execution_id,
            node_id=firing.node.id,
            node_execution_id=firing.id,
            graph_id=claim.graph_id,
            graph_version=claim.graph_version,
            user_id=claim.owner_id,
            idempotency_key=firing.id,
            http_allow_hosts=self._executor.http_allow_hosts,
        )

    # --- Recording ----------------------------------------------------------------------------------------------------------------------

    def _record(self, kind: EventKind, firing: Firing | None = None, **details: Any) -> None:
        self._ready.extend(self.recorder.record(kind, firing, **details))

    def _start(self, firing: Firing) -> None:
        self._started[firing.index] = firing
        self._record(EventKind.NODE_STARTED, firing, ordinal=firing.attempt + 1, value=firing.inputs)

    def _emit(self, firing: Firing, ordinal: int, pin: str, value: Any) -> None:
        if self.state.emission_count >= self._settings.max_emissions:
            raise LimitReachedError(f"the run emitted more than {self._settings.max_emissions} values; a cycle without an exit?")
        if self.recorder.recorded_bytes > MAX_VALUE_BYTES:
            raise LimitReachedError(f"the values of the run hold more than {MAX_VALUE_BYTES // 1024 // 1024} MiB")
        try:
            self._record(EventKind.NODE_OUTPUT, firing, ordinal=ordinal, pin=pin, value=value)
        except ValueTooLargeError as error:
            raise BlockError(f"the value on pin {pin} holds {error}", kind=type(error).__name__) from error
        except (TypeError, ValueError) as error:
            raise BlockError(f"the value on pin {pin} cannot be written as JSON", kind=type(error).__name__) from error

    def _end_firing(self, firing: Firing, kind: EventKind, *, error: str = "") -> None:
        self._started.pop(firing.index, None)
        self._record(kind, firing, error=error)

    def _end(self, kind: EventKind, error: str = "", *, is_dead: bool = False) -> None:
        """Ends the run: stops what is at work, then records the last event with the run's results."""
        if self._is_over or self.recorder.is_fenced:
            return
        self._is_over = True
        for firing in list(self._started.values()):
            self._end_firing(firing, EventKind.NODE_TERMINATED)
        self._record(kind, error=error)
        self.recorder.seal(_ending(self.state, error, is_dead=is_dead))
        self._wake.set()


def _ending(state: State, error: str, *, is_dead: bool) -> Ending:
    end = conclude(state)
    stats = {**asdict(end.stats), "blocked": [asdict(blocked) for blocked in end.blocked]}
    return Ending(end.status.name, end.outcome.name, jsontext.dumps(end.outputs), jsontext.dumps(stats), error, is_dead=is_dead)
