"""NodeExecutor: runs one firing, under a time limit."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from mesh.settings import Settings
from services.block.sdk import Block, BlockContext, BlockError, Effect
from services.block.sdk.run import run_block, run_now
from services.execution.engine.state import Firing

# Takes an output. What it returns, if anything, is to be awaited before the block goes on.
Emit = Callable[[str, Any], Awaitable[None] | None]


class NodeExecutor:
    """Runs firings of all runs of a worker. Knows nothing of journals: what a block emits goes to the caller."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.node_timeout_s
        hosts = (host.strip() for host in settings.http_block_allow_hosts.split(","))
        self.http_allow_hosts = frozenset(host for host in hosts if host)

    @staticmethod
    def may_run_ahead(block: Block) -> bool:
        """True for blocks that run at once, on results still being committed: they would compute the same again."""
        return block.effect is Effect.PURE

    @staticmethod
    def is_repeatable(block: Block) -> bool:
        """True when a firing that was cut off may be run again."""
        return block.effect is not Effect.EFFECTFUL or block.uses_idempotency_key

    def now(self, firing: Firing, context: BlockContext) -> Iterator[tuple[str, Any]]:
        """Runs a pure block as far as it is asked to. Raises BlockError, or Suspended when the block turns out to wait."""
        return run_now(_block(firing), firing.inputs, context)

    async def run(self, firing: Firing, context: BlockContext, emit: Emit, *, is_dry: bool) -> None:
        """Runs a firing to its end. `emit` may hold the block back; that time does not count. Raises BlockError when it fails."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s) as limit, aclosing(_outputs(firing, context, is_dry)) as outputs:
                async for pin, value in outputs:
                    pause = emit(pin, value)
                    if pause is not None:
                        left_s = (limit.when() or 0.0) - loop.time()
                        limit.reschedule(None)
                        await pause
                        limit.reschedule(loop.time() + left_s)
        except TimeoutError as error:
            raise BlockError(f"the node ran longer than {self._timeout_s:g} s", kind="NodeTimeoutError") from error


async def _outputs(firing: Firing, context: BlockContext, is_dry: bool) -> AsyncGenerator[tuple[str, Any]]:
    block = _block(firing)
    if is_dry and block.effect is Effect.EFFECTFUL:
        for pin, value in _example(block):
            yield pin, value
    else:
        async for pin, value in run_block(block, firing.inputs, context):
            yield pin, value


def _block(firing: Firing) -> Block:
    if firing.node.block is None:
        raise BlockError(firing.node.obstacle)
    return firing.node.block


def _example(block: Block) -> Iterable[tuple[str, Any]]:
    """What an effectful block is taken to emit in a dry run: its first example that does not fail; nothing without one."""
    return next((vector.outputs for vector in block.vectors if not vector.error), ())
