"""NodeExecutor: runs one firing, under a time limit."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from mesh.settings import Settings
from services.block.sdk import Block, BlockContext, BlockError, Effect, Wait
from services.block.sdk.policy import OnInterrupt
from services.block.sdk.run import never_awaits, run_block, run_now, wait_of
from services.execution.engine.plan import Node
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
    def never_awaits(firing: Firing) -> bool:
        """True for blocks that an event loop could not interrupt anyway."""
        return firing.node.block is not None and never_awaits(type(firing.node.block))

    @staticmethod
    def on_interrupt(node: Node) -> OnInterrupt:
        """What becomes of a firing that was cut off."""
        if node.policy.on_interrupt is not None:
            return node.policy.on_interrupt
        block = node.block
        is_repeatable = block is not None and (block.effect is not Effect.EFFECTFUL or block.uses_idempotency_key)
        return OnInterrupt.RETRY if is_repeatable else OnInterrupt.FAIL

    def timeout_s(self, node: Node) -> float:
        """How long one attempt may run."""
        own_s = node.policy.timeout_s
        return self._timeout_s if own_s is None else min(own_s, self._timeout_s)

    def too_long(self, node: Node) -> BlockError:
        """How an attempt fails that ran longer."""
        return BlockError(f"the node ran longer than {self.timeout_s(node):g} s", kind="NodeTimeoutError")

    @staticmethod
    def wait_for(firing: Firing, context: BlockContext) -> Wait | None:
        """What the firing has to wait for before its block runs. Raises BlockError."""
        block = firing.node.block
        return None if block is None or not block.may_wait else wait_of(block, firing.node.call(firing.inputs), context)

    @staticmethod
    def stub(node: Node) -> Sequence[tuple[str, Any]] | None:
        """What a firing is taken to emit in a dry run: what its node declares; for a block with effects its first example that does not
        fail. None when the firing runs as always, which it also does when it runs another agent: that is a dry run, too.
        """
        if node.policy.stub_outputs is not None:
            return node.policy.stub_outputs
        block = node.block
        if block is None or block.effect is not Effect.EFFECTFUL or block.may_wait:
            return None
        return next((vector.outputs for vector in block.vectors if not vector.error), ())

    def now(self, firing: Firing, context: BlockContext) -> Iterator[tuple[str, Any]]:
        """Runs a block that does not wait, as far as it is asked to. Raises BlockError, or Suspended when it turns out to wait."""
        return run_now(_block(firing), firing.node.call(firing.inputs), context)

    async def run(self, firing: Firing, context: BlockContext, emit: Emit) -> None:
        """Runs a firing to its end. `emit` may hold the block back; that time does not count. Raises BlockError when it fails."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout_s(firing.node)) as limit, aclosing(_outputs(firing, context)) as outputs:
                async for pin, value in outputs:
                    pause = emit(pin, value)
                    if pause is not None:
                        left_s = (limit.when() or 0.0) - loop.time()
                        limit.reschedule(None)
                        await pause
                        limit.reschedule(loop.time() + left_s)
        except TimeoutError as error:
            raise self.too_long(firing.node) from error


def _outputs(firing: Firing, context: BlockContext) -> AsyncGenerator[tuple[str, Any]]:
    return run_block(_block(firing), firing.node.call(firing.inputs), context)


def _block(firing: Firing) -> Block:
    if firing.node.block is None:
        raise BlockError(firing.node.obstacle)
    return firing.node.block
