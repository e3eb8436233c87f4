"""Decisions and loops."""

import operator
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

from services.block.sdk import (
    Block,
    BlockContext,
    BlockError,
    BlockInput,
    BlockOutput,
    BlockResult,
    Category,
    Effect,
    Vector,
    pin,
)
from services.block.sdk.coercion import convert
from services.block.sdk.jsonread import read_json

# From here on a float no longer holds every integer.
_EXACT_LIMIT = 2**53
MAX_ITEMS = 10_000
MAX_ITEMS_TEXT_BYTES = 1024 * 1024


class Comparison(StrEnum):
    """The operators of ConditionBlock."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    GREATER = ">"
    LESS = "<"
    GREATER_OR_EQUAL = ">="
    LESS_OR_EQUAL = "<="


_COMPARE: dict[Comparison, Callable[[Any, Any], bool]] = {
    Comparison.EQUAL: operator.eq,
    Comparison.NOT_EQUAL: operator.ne,
    Comparison.GREATER: operator.gt,
    Comparison.LESS: operator.lt,
    Comparison.GREATER_OR_EQUAL: operator.ge,
    Comparison.LESS_OR_EQUAL: operator.le,
}


class DecisionOutput(BlockOutput):
    """The answer, and a value on one of two ways."""

    result: bool = pin(description="Whether it is so")
    yes_output: Any = pin(description="What goes on when it is so")
    no_output: Any = pin(description="What goes on when it is not")


class ConditionBlock(Block):
    """Compares two values and sends one of two values on. Texts that are numbers are compared as numbers."""

    id = "715696a0-e1da-45c8-b209-c2fa9c3b0be6"
    categories = (Category.LOGIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """What to compare and what to send on."""

        value1: Any = pin(description="Left side", placeholder="10")
        operator: Comparison = pin(description="How to compare", placeholder="Select an operator")
        value2: Any = pin(description="Right side", placeholder="20")
        yes_value: Any = pin(None, description="Sent on when it is so; the left side when not set")
        no_value: Any = pin(None, description="Sent on when it is not so; the right side when not set")

    Output = DecisionOutput

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when the two cannot be ordered."""
        left, right = _as_number(input.value1), _as_number(input.value2)
        try:
            is_so = bool(_COMPARE[input.operator](left, right))
        except TypeError as error:
            raise BlockError(f"Comparison failed: {error}") from error
        yield "result", is_so
        if is_so:
            yield "yes_output", left if input.yes_value is None else input.yes_value
        else:
            yield "no_output", right if input.no_value is None else input.no_value

    vectors = (
        Vector(input={"value1": "10", "operator": ">", "value2": "9"}, outputs=[("result", True), ("yes_output", 10.0)]),
        Vector(input={"value1": "a", "operator": ">", "value2": 1}, error="Comparison failed"),
    )


class IfInputMatchesBlock(Block):
    """Sends one of two values on, by whether a value equals another once that is converted to its type."""

    id = "6dbbc4b3-ca6c-42b6-b508-da52d23e13f2"
    categories = (Category.LOGIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """What to compare and what to send on."""

        input: Any = pin(description="The value to look at")
        value: Any = pin(description="What it should be")
        yes_value: Any = pin(None, description="Sent on when it matches")
        no_value: Any = pin(None, description="Sent on when it does not")

    Output = DecisionOutput

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """A way whose value is not set sends null on."""
        found, wanted = input.input, input.value
        if found != wanted:
            wanted = convert(wanted, type(found))
        if found == wanted:
            yield "result", True
            yield "yes_output", input.yes_value
        else:
            yield "result", False
            yield "no_output", input.no_value

    vectors = (
        Vector(input={"input": "10", "value": 10, "yes_value": "Y"}, outputs=[("result", True), ("yes_output", "Y")]),
        Vector(input={"input": "a", "value": "A"}, outputs=[("result", False), ("no_output", None)]),
    )


class StepThroughItemsBlock(Block):
    """Emits the items of a list or dictionary one by one, each followed by its index or key."""

    id = "f66a3543-28d3-4ab5-8945-9b336371e2ce"
    categories = (Category.LOGIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """Up to three collections; they are gone through in turn."""

        items: list[Any] = pin(default_factory=list, description="Items as a list", advanced=False)
        items_object: dict[str, Any] = pin(default_factory=dict, description="Items as a dictionary", advanced=False)
        items_str: str = pin("", description="Items as JSON text", advanced=False)

    class Output(BlockOutput):
        """One item at a time."""

        item: Any = pin(description="The item")
        key: Any = pin(description="Its index in a list, its key in a dictionary")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails on more than MAX_ITEMS items or MAX_ITEMS_TEXT_BYTES bytes of JSON text, before the collection's first item."""
        for items in (input.items, input.items_object, input.items_str):
            if not items:
                continue
            for key, item in _numbered(_parsed(items) if isinstance(items, str) else items):
                yield "item", item
                yield "key", key

    vectors = (
        Vector(input={"items": ["a"]}, outputs=[("item", "a"), ("key", 0)]),
        Vector(input={"items_str": '{"k": "v"}'}, outputs=[("item", "v"), ("key", "k")]),
    )


def _as_number(value: Any) -> Any:
    """Text that is a number as that number, other text without the blanks around it."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        number = float(text)
    except ValueError:
        return text
    if abs(number) < _EXACT_LIMIT:
        return number
    try:
        return int(text)
    except ValueError:
        return number


def _parsed(text: str) -> Any:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_ITEMS_TEXT_BYTES:
        raise BlockError(f"The text of items is larger than {MAX_ITEMS_TEXT_BYTES} bytes")
    return read_json(text)


def _numbered(items: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(items, list | dict | str):
        raise BlockError(f"There are no items to go through in a {type(items).__name__}")
    if len(items) > MAX_ITEMS:
        raise BlockError(f"There are more than {MAX_ITEMS} items")
    return items.items() if isinstance(items, dict) else enumerate(items)
