"""One run of one block outside a graph."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from mesh import jsontext
from services.block.errors import input_invalid, too_slow
from services.block.sdk import Block, BlockContext, BlockError
from services.block.sdk.inputs import NotReady, input_plan
from services.block.sdk.run import run_alone

# The answer is one message; what is larger cannot be sent.
MAX_OUTPUT_BYTES = 3 * 1024 * 1024


@dataclass(slots=True)
class Trial:
    """What came out: pins with their values as JSON text, and why the block failed, empty when it did not."""

    outputs: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""


def parsed_inputs(text: str) -> Mapping[str, Any]:
    """The inputs of a call. An empty text means none. Raises InvalidArgumentError."""
    try:
        inputs = jsontext.loads(text) if text else {}
    except ValueError as error:
        raise input_invalid(f"The inputs are not JSON: {error}") from None
    if not isinstance(inputs, dict):
        raise input_invalid("The inputs are not a JSON object")
    return inputs


async def try_block(block: Block, inputs: Mapping[str, Any], ctx: BlockContext, timeout_s: float) -> Trial:
    """Runs the block as a node with these constants would run. Raises InvalidArgumentError and DeadlineExceededError."""
    prepared = input_plan(block).prepare(inputs, {})
    if isinstance(prepared, NotReady):
        raise input_invalid(prepared.reason, [f"inputs.{name}" for name in prepared.missing])
    trial = Trial()
    size = 0
    try:
        async with asyncio.timeout(timeout_s), aclosing(run_alone(block, prepared.data, ctx)) as outputs:
            async for pin, value in outputs:
                text = _text(pin, value)
                size += len(text.encode()) + len(pin)
                if size > MAX_OUTPUT_BYTES:
                    trial.error = f"The outputs are larger than {MAX_OUTPUT_BYTES} bytes"
                    break
                trial.outputs.append((pin, text))
    except BlockError as error:
        trial.error = error.message
    except TimeoutError:
        raise too_slow() from None
    return trial


def _text(pin: str, value: Any) -> str:
    """JSON text that can be sent. Raises BlockError: a block may emit halves of characters, or integers too long to be written."""
    try:
        text = jsontext.dumps(value)
        text.encode()
    except (TypeError, ValueError) as error:
        raise BlockError(f"the value on pin {pin} cannot be written as JSON", kind=type(error).__name__) from error
    return text
