"""Runs a block once on prepared input. The same two functions serve the engine, the catalogue's trial runs and tests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from dis import get_instructions
from inspect import isasyncgenfunction
from typing import Any

from services.block.sdk.base import Block
from services.block.sdk.context import BlockContext
from services.block.sdk.errors import BlockError
from services.block.sdk.inputs import input_plan
from services.block.sdk.outputs import output_plan
from services.block.sdk.waits import Review, Timer, Wait

# Errors go over links and into events and logs: those that quote a large value are cut.
MAX_ERROR_CHARS = 2_000

# What `await`, `async for` and `async with` are compiled to.
_AWAITING = frozenset({"GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH"})
_NEVER_AWAITS: dict[type[Block], bool] = {}


class Suspended(Exception):  # noqa: N818 - a turn of events, not a fault
    """The block awaited something, so it needs an event loop. What it did so far is void."""


async def run_block(block: Block, data: Mapping[str, Any], ctx: BlockContext) -> AsyncGenerator[tuple[str, Any]]:
    """Yields what the block emits, checked and as plain JSON. Raises BlockError however it fails; what was yielded stands."""
    emit = output_plan(block).emit
    generator: AsyncIterator[tuple[str, Any]] | None = None
    try:
        generator = block.run(input_plan(block).model(data), ctx)
        async for pin, value in generator:
            yield pin, emit(pin, value)
    except Exception as error:
        raise as_block_error(error) from error
    finally:
        # A caller that stops early must not leave the block's own clean-up to the garbage collector.
        if isinstance(generator, AsyncGenerator):
            await generator.aclose()


def wait_of(block: Block, data: Mapping[str, Any], ctx: BlockContext) -> Wait | None:
    """What a firing of a block that may wait has to wait for now. Raises BlockError however that fails."""
    try:
        return block.wait_for(input_plan(block).model(data), ctx)
    except Exception as error:
        raise as_block_error(error) from error


async def run_alone(block: Block, data: Mapping[str, Any], ctx: BlockContext) -> AsyncGenerator[tuple[str, Any]]:
    """As `run_block`, outside a graph: timers are waited for on the spot; nobody is there to decide, and no other agent to run."""
    while block.may_wait and (wait := wait_of(block, data, ctx)) is not None:
        if not isinstance(wait, Timer):
            what = "waits for a person" if isinstance(wait, Review) else "runs another agent"
            raise BlockError(f"{block.name} {what}, which only a node of a graph can do")
        await asyncio.sleep(wait.delay_s)
        ctx = replace(ctx, waits=ctx.waits + 1)
        if not block.waits_again:
            break
        async with aclosing(run_block(block, data, ctx)) as outputs:
            async for output in outputs:
                yield output
    if ctx.waits and block.waits_again:
        return
    async with aclosing(run_block(block, data, ctx)) as outputs:
        async for output in outputs:
            yield output


def run_now(block: Block, data: Mapping[str, Any], ctx: BlockContext) -> Iterator[tuple[str, Any]]:
    """As `run_block`, without an event loop: for blocks that never wait. Raises Suspended when one does."""
    emit = output_plan(block).emit
    try:
        generator = block.run(input_plan(block).model(data), ctx)
        while True:
            step = anext(generator).__await__()
            try:
                step.send(None)
            except StopIteration as emitted:
                pin, value = emitted.value
                yield pin, emit(pin, value)
            except StopAsyncIteration:
                return
            else:
                _abandon(step)
                raise Suspended(block.name)
    except Suspended:
        raise
    except Exception as error:
        raise as_block_error(error) from error


def never_awaits(block: type[Block]) -> bool:
    """True when the code of `run` has no place where it could wait for anything, so that running it without an event loop is the same."""
    found = _NEVER_AWAITS.get(block)
    if found is None:
        awaits = any(step.opname in _AWAITING for step in get_instructions(block.run))
        found = _NEVER_AWAITS[block] = isasyncgenfunction(block.run) and not awaits
    return found


def _abandon(step: Generator[Any, Any, Any]) -> None:
    """Ends a generator in the middle of a wait; left alone, it would be finalised later by a loop that never ran it."""
    with suppress(GeneratorExit, StopIteration, StopAsyncIteration):
        step.throw(GeneratorExit())


def as_block_error(error: Exception) -> BlockError:
    """How the failure shows on the pin `error`: the block's own words, or the name of the exception when it has none."""
    text = str(error) or type(error).__name__
    if isinstance(error, BlockError) and len(text) <= MAX_ERROR_CHARS:
        return error
    kind = error.kind if isinstance(error, BlockError) else type(error).__name__
    return BlockError(text if len(text) <= MAX_ERROR_CHARS else f"{text[:MAX_ERROR_CHARS]}…", kind=kind)
