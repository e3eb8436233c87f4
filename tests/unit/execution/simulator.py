"""Runs a graph on the pure engine alone: real blocks, no journal, no worker, and a clock that jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

from services.block.sdk import BlockContext, BlockError, BlockRegistry
from services.block.sdk.run import run_block
from services.execution.engine.dataflow import start
from services.execution.engine.events import NO_FIRING, Event, EventKind
from services.execution.engine.fold import apply
from services.execution.engine.plan import Plan
from services.execution.engine.state import Firing, State

EXECUTION_ID = "0199c0de-0000-7000-8000-000000000001"


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
    """One run. `events` is its journal in full, `state` the fold over it."""

    def __init__(self, plan: Plan, inputs: Mapping[str, Any], masks: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.state = State(plan, EXECUTION_ID, masks)
        self.events: list[Event] = []
        self._inputs = inputs
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, cancel_after_s: float | None = None) -> "Simulation":
        """Runs to the end, or until it is cancelled."""
        with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            runner.run(self._run(cancel_after_s))
        return self

    async def _run(self, cancel_after_s: float | None) -> None:
        ready = start(self.state, self._inputs)
        self._record(EventKind.EXECUTION_QUEUED)
        self._record(EventKind.EXECUTION_STARTED)
        self._launch(ready)
        loop = asyncio.get_running_loop()
        deadline = None if cancel_after_s is None else loop.time() + cancel_after_s
        while self._tasks:
            timeout = None if deadline is None else deadline - loop.time()
            done, _ = await asyncio.wait(self._tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                await self._terminate()
                return
            for task in done:
                task.result()
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
        context = BlockContext(execution_id=EXECUTION_ID, node_id=firing.node.id, node_execution_id=firing.id)
        try:
            async for pin, value in run_block(block, firing.inputs, context):
                self._record(EventKind.NODE_OUTPUT, firing.index, ordinal=firing.emitted, pin=pin, value=value)
                await asyncio.sleep(0)
        except BlockError as error:
            self._record(EventKind.NODE_FAILED, firing.index, error=error.message)
        else:
            self._record(EventKind.NODE_COMPLETED, firing.index)

    def _record(self, kind: EventKind, firing: int = NO_FIRING, **details: Any) -> None:
        time_us = 1 + round(asyncio.get_running_loop().time() * 1e6)
        event = Event(kind, time_us, firing, **details)
        self.events.append(event)
        self._launch(apply(self.state, event))


def simulate(
    document: Mapping[str, Any], inputs: Mapping[str, Any] | None = None, masks: Mapping[str, Mapping[str, Any]] | None = None
) -> Simulation:
    """Runs a graph document with the installed blocks."""
    return Simulation(Plan.compile(document, BlockRegistry.installed()), inputs or {}, masks).run()
