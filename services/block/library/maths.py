"""Numbers."""

import math
import operator
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin


class Operation(StrEnum):
    """What CalculatorBlock can do."""

    ADD = "Add"
    SUBTRACT = "Subtract"
    MULTIPLY = "Multiply"
    DIVIDE = "Divide"
    POWER = "Power"


_COMPUTE: dict[Operation, Callable[[float, float], Any]] = {
    Operation.ADD: operator.add,
    Operation.SUBTRACT: operator.sub,
    Operation.MULTIPLY: operator.mul,
    Operation.DIVIDE: operator.truediv,
    Operation.POWER: operator.pow,
}


class CalculatorBlock(Block):
    """Adds, subtracts, multiplies, divides or raises to a power."""

    id = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
    categories = (Category.LOGIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """Two numbers and what to do with them."""

        operation: Operation = pin(description="What to do", placeholder="Select an operation")
        a: float = pin(description="The first number", placeholder="10")
        b: float = pin(description="The second number", placeholder="5")
        round_result: bool = pin(False, description="Round to a whole number, halves to the even one")

    class Output(BlockOutput):
        """The result."""

        result: float = pin(description="The result; infinity for a division by zero, not a number when there is none")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails only when the result is a complex number."""
        yield "result", _computed(input.operation, input.a, input.b, is_rounded=input.round_result)

    vectors = (
        Vector(input={"operation": "Add", "a": 1, "b": 2}, outputs=[("result", 3.0)]),
        Vector(input={"operation": "Divide", "a": 5, "b": 2, "round_result": True}, outputs=[("result", 2)]),
        Vector(input={"operation": "Power", "a": -8, "b": 0.5}, error="complex"),
    )


def _computed(operation: Operation, a: float, b: float, *, is_rounded: bool) -> float:
    try:
        result = _COMPUTE[operation](a, b)
        if isinstance(result, complex):
            raise BlockError("The result is a complex number, which no pin can carry")
        return round(result) if is_rounded else float(result)
    except ZeroDivisionError:
        return math.inf
    except (OverflowError, ArithmeticError, ValueError) as error:
        if isinstance(error, BlockError):
            raise
        return math.nan


class CountItemsBlock(Block):
    """Counts the items of a list or dictionary, or the characters of a text."""

    id = "3c9c2f42-b0c3-435f-ba35-05f7a25c772a"
    categories = (Category.LOGIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """What to count."""

        collection: Any = pin(description="A list, dictionary or text")

    class Output(BlockOutput):
        """The number of items."""

        count: int = pin(description="How many there are; -1 for what cannot be counted")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "count", len(input.collection) if isinstance(input.collection, str | list | dict) else -1

    vectors = (
        Vector(input={"collection": [[1, 2], [3]]}, outputs=[("count", 2)]),
        Vector(input={"collection": 5}, outputs=[("count", -1)]),
    )
