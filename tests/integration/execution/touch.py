"""Blocks for the tests: one with an effect that can be counted (it appends a line to a file), one that only takes time."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockRegistry, BlockResult, Effect, pin
from services.execution.worker import cells

# A file per test process, handed to worker processes in the environment.
FILE = "TEST_TOUCH_FILE"
# In the environment of workers whose cells shall not be killed by the system when their parent dies.
NO_DEATH_SIGNAL = "TEST_NO_DEATH_SIGNAL"


class Touches:
    """The file, as a test reads it."""

    def __init__(self, path: Path) -> None:
        """Starts with none."""
        self.path = path
        path.touch()

    def firings(self) -> list[str]:
        """The firings that touched it, in order; one that ran twice is there twice."""
        return self.path.read_text().split()

    async def some(self) -> bool:
        """True once there is one."""
        return bool(self.firings())


class TouchBlock(Block):
    """Appends a line to the file and hands its input on, after a while if asked to."""

    id = "touch"
    effect = Effect.EFFECTFUL

    class Input(BlockInput):
        """What to hand on, and how long to take."""

        value: Any = pin()
        seconds: float = pin(0.0)

    class Output(BlockOutput):
        """What came in."""

        value: Any = pin()

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """One line per run: the firing."""
        path = os.environ.get(FILE, "")
        if path:
            # One write call: lines of several processes do not mix.
            with Path(path).open("ab", buffering=0) as file:  # noqa: ASYNC230 - a line
                file.write(f"{ctx.node_execution_id}\n".encode())
        if input.seconds:
            await asyncio.sleep(input.seconds)
        yield "value", input.value


class PauseBlock(Block):
    """Hands its input on after a while. Running it again does no harm."""

    id = "pause"
    effect = Effect.IDEMPOTENT
    Input = TouchBlock.Input
    Output = TouchBlock.Output

    async def run(self, input: TouchBlock.Input, ctx: BlockContext) -> BlockResult:
        """Waits, then emits."""
        await asyncio.sleep(input.seconds)
        yield "value", input.value


class FlakyBlock(Block):
    """Touches the file, emits "partial", and fails until it is tried for the `value`th time; then it emits "done"."""

    id = "flaky"
    effect = Effect.EFFECTFUL

    class Input(BlockInput):
        """How many tries it takes."""

        value: int = pin()

    class Output(BlockOutput):
        """How far it came."""

        value: str = pin()

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Counts its tries by the lines in the file."""
        path = Path(os.environ[FILE])
        with path.open("ab", buffering=0) as file:  # noqa: ASYNC230 - a line
            file.write(f"{ctx.node_execution_id}\n".encode())
        yield "value", "partial"
        if Touches(path).firings().count(ctx.node_execution_id) < input.value:
            raise BlockError("not yet")
        yield "value", "done"


class SpinBlock(Block):
    """Emits its input without end."""

    id = "spin"
    effect = Effect.PURE
    Input = TouchBlock.Input
    Output = TouchBlock.Output

    async def run(self, input: TouchBlock.Input, ctx: BlockContext) -> BlockResult:
        """Never ends by itself."""
        while True:
            yield "value", input.value


class PourBlock(Block):
    """Touches the file and emits the numbers below `value`, all without awaiting anything."""

    id = "pour"
    effect = Effect.EFFECTFUL
    Input = TouchBlock.Input
    Output = TouchBlock.Output

    async def run(self, input: TouchBlock.Input, ctx: BlockContext) -> BlockResult:
        """One line per run: the firing."""
        with Path(os.environ[FILE]).open("ab", buffering=0) as file:  # noqa: ASYNC230 - a line
            file.write(f"{ctx.node_execution_id}\n".encode())
        for number in range(int(input.value)):
            yield "value", number


class PoisonBlock(Block):
    """Kills the process that runs it, after a while if asked to."""

    id = "poison"
    effect = Effect.IDEMPOTENT
    Input = TouchBlock.Input
    Output = TouchBlock.Output

    async def run(self, input: TouchBlock.Input, ctx: BlockContext) -> BlockResult:
        """Does not return."""
        await asyncio.sleep(input.seconds)
        os.kill(os.getpid(), signal.SIGKILL)
        yield "value", input.value


class StuckBlock(Block):
    """Never gives the event loop back."""

    id = "stuck"
    effect = Effect.IDEMPOTENT
    Input = TouchBlock.Input
    Output = TouchBlock.Output

    async def run(self, input: TouchBlock.Input, ctx: BlockContext) -> BlockResult:
        """Does not return."""
        time.sleep(3600)  # noqa: ASYNC251 - what it is for
        yield "value", input.value


class TidyBlock(Block):
    """Waits, and takes its time to tidy up; then it touches the file."""

    id = "tidy"
    effect = Effect.EFFECTFUL
    Input = TouchBlock.Input
    Output = TouchBlock.Output

    async def run(self, input: TouchBlock.Input, ctx: BlockContext) -> BlockResult:
        """One line, at the very end."""
        try:
            await asyncio.sleep(3600)
            yield "value", input.value
        finally:
            await asyncio.sleep(input.seconds)
            with Path(os.environ[FILE]).open("ab", buffering=0) as file:  # noqa: ASYNC230 - a line
                file.write(f"{ctx.node_execution_id}\n".encode())


class DripBlock(Block):
    """Emits the numbers below `value`, one after each pause. Running it again does no harm."""

    id = "drip"
    effect = Effect.IDEMPOTENT
    Input = TouchBlock.Input
    Output = TouchBlock.Output

    async def run(self, input: TouchBlock.Input, ctx: BlockContext) -> BlockResult:
        """Waits and emits, again and again."""
        for number in range(input.value):
            await asyncio.sleep(input.seconds)
            yield "value", number


def install() -> None:
    """Adds the blocks to this process, and to the cells of its workers."""
    cells.PROGRAM = (sys.executable, str(Path(__file__).with_name("cell_process.py")))
    for block in (TouchBlock, PauseBlock, DripBlock, FlakyBlock, PourBlock, PoisonBlock, SpinBlock, StuckBlock, TidyBlock):
        BlockRegistry.installed().add(block)
