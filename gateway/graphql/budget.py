"""What one operation may really take: counted while it is answered, for what nobody knew before it began."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import orjson
from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode
from strawberry.types.info import Info

from mesh.errors import ResourceExhaustedError

# Of the messages that services give for one operation, and of the text in its answer.
MAX_BYTES = 32 * 1024 * 1024
# Items of a list that are put together in one go.
PAUSE_EVERY = 200
TOO_LARGE = "GRAPHQL_TOO_LARGE"


class Budget:
    """What is left to one operation. Each method raises RESOURCE_EXHAUSTED (GRAPHQL_TOO_LARGE) when it is too little."""

    def __init__(self, max_values: int) -> None:
        """`max_values` counts what stands in lists: how long they are, only their services know."""
        self._max_values = max_values
        self._values = self._loaded = self._shown = 0
        self._widths: dict[int, int] = {}

    def load(self, size: int) -> None:
        """A service gave a message of so many bytes."""
        self._loaded += size
        if self._loaded > MAX_BYTES:
            raise _too_large(MAX_BYTES, "bytes")

    def show(self, size: int) -> None:
        """A text of so many bytes goes into the answer."""
        self._shown += size
        if self._shown > MAX_BYTES:
            raise _too_large(MAX_BYTES, "bytes")

    def list(self, length: int, info: Info[Any, Any]) -> None:
        """A list goes into the answer: its items, and what is asked of them."""
        node = info._raw_info.field_nodes[0]
        if id(node) not in self._widths:
            self._widths[id(node)] = sum(_width(each.selection_set, info) for each in info._raw_info.field_nodes)
        self._values += length * (1 + self._widths[id(node)])
        if self._values > self._max_values:
            raise _too_large(self._max_values, "values")


# Of the operation that is running.
budget: ContextVar[Budget] = ContextVar("graphql_budget")


def shown_json(value: Any) -> Any:
    """A JSON value on its way into the answer: as its text, which is counted."""
    if value is None or isinstance(value, bool | int | float):
        return value
    written = orjson.dumps(value)
    budget.get().show(len(written))
    return orjson.Fragment(written)


class Gradual:
    """The items of a long list, with pauses in which others have their turn."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = iter(items)
        self._given = 0

    def __aiter__(self) -> "Gradual":
        return self

    async def __anext__(self) -> Any:
        self._given += 1
        if not self._given % PAUSE_EVERY:
            await asyncio.sleep(0)
        try:
            return next(self._items)
        except StopIteration:
            raise StopAsyncIteration from None


def counted(value: Any, info: Info[Any, Any]) -> Any:
    """What a field gives; a list once there is room for it, and gradually when it is long."""
    if not isinstance(value, list):
        return value
    budget.get().list(len(value), info)
    return Gradual(value) if len(value) > PAUSE_EVERY else value


def _width(selections: SelectionSetNode | None, info: Info[Any, Any]) -> int:
    """How many fields are asked of one item; lists within it count for themselves. A document has few levels: that was looked at."""
    total = 0
    for selection in selections.selections if selections else ():
        if isinstance(selection, FieldNode):
            total += 1 + _width(selection.selection_set, info)
        elif isinstance(selection, InlineFragmentNode):
            total += _width(selection.selection_set, info)
        elif isinstance(selection, FragmentSpreadNode):
            total += _width(info._raw_info.fragments[selection.name.value].selection_set, info)
    return total


def _too_large(limit: int, what: str) -> ResourceExhaustedError:
    sentence = f"The answer is too large: more than {limit} {what}. Ask for less, or over REST."
    return ResourceExhaustedError(sentence, reason=TOO_LARGE, metadata={"limit": str(limit)})
