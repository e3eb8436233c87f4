"""Runs a graph on the pure engine alone: real blocks, no journal, no worker, and a clock that jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid5

from services.block.sdk import Block, BlockContext, BlockError, BlockRegistry, Child, Review, Timer, Wait
from services.block.sdk.run import run_block, wait_of
from services.execution.engine.dataflow import start
from services.execution.engine.events import NO_FIRING, Event, EventKind
from services.execution.engine.fold import apply
from services.execution.engine.outcome import child_answer
from services.execution.engine.plan import Plan
from services.execution.engine.state import Firing, State
from services.execution.engine.waits import child_value, review_value, timer_value

EXECUTION_ID = "0199c0de-0000-7000-8000-000000000001"

# What a person says to a review.
Decide = Callable[[Review], Any]


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: it moves the clock of its loop instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.now_s += timeout
        return super().select(timeout if timeout is None else 0)


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop on which `asyncio.sleep(30)` takes no time, and timers still fire in their order."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


class Simulation:
    """One run. `events` is its journal in full, `state` the fold over it, `children` the runs that its firings started."""

    def __init__(
        self,
        plan: Plan,
        inputs: Mapping[str, Any],
        masks: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        agents: Mapping[str, Plan] | None = None,
        decide: Decide = lambda review: {"approved": True, "data": review.data, "message": ""},
        id: str = EXECUTION_ID,
    ) -> None:
        """`agents` are the graphs by id that nodes may run."""
        self.id = id
        self.state = State(plan, id, masks)
        self.events: list[Event] = []
        self.children: list[Simulation] = []
        self._agents = agents or {}
        self._decide = decide
        self._inputs = inputs
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, cancel_after_s: float | None = None) -> "Simulation":
        """Runs to the end, or until it is cancelled."""
        with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            runner.run(self._run(cancel_after_s))
        return self

    async def _run(self, cancel_after_s: float | None = None) -> None:
        ready = start(self.state, self._inputs)
        self._record(EventKind.EXECUTION_QUEUED)
        self._record(EventKind.EXECUTION_STARTED)
        self._launch(ready)
        loop = asyncio.get_running_loop()
        deadline = None if cancel_after_s is None else loop.time() + cancel_after_s
        try:
            while self._tasks:
                timeout = None if deadline is None else deadline - loop.time()
                done, _ = await asyncio.wait(self._tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    await self._terminate()
                    return
                for task in done:
                    task.result()
        except asyncio.CancelledError:
            await self._terminate()
            raise
        self._record(EventKind.EXECUTION_COMPLETED)

    async def _terminate(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._record(EventKind.EXECUTION_TERMINATED)

    def _launch(self, firings: list[Firing]) -> None:
        for firing in firings:
            task = asyncio.create_task(self._fire(firing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fire(self, firing: Firing) -> None:
        self._record(EventKind.NODE_STARTED, firing.index, value=firing.inputs)
        block = firing.node.block
        if block is None or firing.node.obstacle:
            self._record(EventKind.NODE_FAILED, firing.index, error=firing.node.obstacle)
            return
        with suppress(asyncio.CancelledError):
            try:
                await self._run_block(firing, block)
            except BlockError as error:
                self._record(EventKind.NODE_FAILED, firing.index, error=error.message)
            else:
                self._record(EventKind.NODE_COMPLETED, firing.index)

    async def _run_block(self, firing: Firing, block: Block) -> None:
        inputs = firing.node.call(firing.inputs)
        while True:
            wait = wait_of(block, inputs, self._context(firing)) if block.may_wait else None
            if wait is not None:
                await self._wait(firing, wait)
            elif firing.answers:
                return
            async for pin, value in run_block(block, inputs, self._context(firing)):
                self._record(EventKind.NODE_OUTPUT, firing.index, ordinal=firing.emitted, pin=pin, value=value)
                await asyncio.sleep(0)
            if wait is None or not block.waits_again:
                return

    def _context(self, firing: Firing) -> BlockContext:
        return BlockContext(
            execution_id=self.id, node_id=firing.node.id, node_execution_id=firing.id, answer=firing.answer, waits=firing.answers
        )

    async def _wait(self, firing: Firing, wait: Wait) -> None:
        answer: Any = None
        if isinstance(wait, Timer):
            until_us = self._now_us() + round(wait.delay_s * 1e6)
            self._record(EventKind.NODE_WAITING, firing.index, value=timer_value(until_us))
            await asyncio.sleep(wait.delay_s)
        elif isinstance(wait, Review):
            self._record(EventKind.NODE_REVIEW, firing.index, value=review_value(wait))
            answer = self._decide(wait)
        else:
            child = self._child(firing, wait)
            self._record(EventKind.NODE_WAITING, firing.index, value=child_value(child.id))
            await child._run()
            answer = child_answer(child.state, child.id)
        self._record(EventKind.NODE_RESUMED, firing.index, value=answer)

    def _child(self, firing: Firing, wait: Child) -> "Simulation":
        name = str(uuid5(UUID(self.id), f"child/{firing.id}"))
        plan = self._agents[wait.graph_id]
        child = Simulation(plan, wait.inputs, wait.input_masks, agents=self._agents, decide=self._decide, id=name)
        self.children.append(child)
        return child

    def _record(self, kind: EventKind, firing: int = NO_FIRING, **details: Any) -> None:
        event = Event(kind, self._now_us(), firing, **details)
        self.events.append(event)
        self._launch(apply(self.state, event))

    def _now_us(self) -> int:
        return 1 + round(asyncio.get_running_loop().time() * 1e6)


def simulate(
    document: Mapping[str, Any], inputs: Mapping[str, Any] | None = None, masks: Mapping[str, Mapping[str, Any]] | None = None
) -> Simulation:
    """Runs a graph document with the installed blocks."""
    return Simulation(Plan.compile(document, BlockRegistry.installed()), inputs or {}, masks).run()
