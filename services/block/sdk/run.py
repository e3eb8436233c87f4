"""Runs a block once on prepared input. The same two functions serve the engine, the catalogue's trial runs and tests."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any

from services.block.sdk.base import Block
from services.block.sdk.context import BlockContext
from services.block.sdk.errors import BlockError
from services.block.sdk.inputs import input_plan
from services.block.sdk.outputs import output_plan


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


def run_now(block: Block, data: Mapping[str, Any], ctx: BlockContext) -> Iterator[tuple[str, Any]]:
    """As `run_block`, without an event loop: for pure blocks, which never wait. Raises Suspended when one does."""
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


def _abandon(step: Generator[Any, Any, Any]) -> None:
    """Ends a generator in the middle of a wait; left alone, it would be finalised later by a loop that never ran it."""
    with suppress(GeneratorExit, StopIteration, StopAsyncIteration):
        step.throw(GeneratorExit())


def as_block_error(error: Exception) -> BlockError:
    """How the failure shows on the pin `error`: the block's own words, or the name of the exception when it has none."""
    if isinstance(error, BlockError):
        return error
    return BlockError(str(error) or type(error).__name__, kind=type(error).__name__)
