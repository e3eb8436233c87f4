"""Lists: making, reading and changing them."""

from typing import Any, TypeAlias

from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin

# Needed because pins are called `list` too.
Items: TypeAlias = list[Any]

# Rough size of a token of a language model; exact counts depend on the model.
_CHARS_PER_TOKEN = 4


def _no_items() -> Items:
    return []


class ListOutput(BlockOutput):
    """The changed list."""

    updated_list: Items = pin(description="The changed list")


class EmptyOutput(BlockOutput):
    """The answer."""

    is_empty: bool = pin(description="Whether it has no items")


class CreateListBlock(Block):
    """Makes a list of values that arrive one per index, in chunks where a limit is set."""

    id = "a912d5c7-6e00-4542-b2a9-8034136930e4"
    categories = (Category.DATA,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The items and the limits of a chunk."""

        values: Items = pin(description="The items; link to `values_$_0` for one of them")
        max_size: int | None = pin(None, description="Most items of a chunk")
        max_tokens: int | None = pin(None, description="Most tokens of a chunk, at about four characters each")

    class Output(BlockOutput):
        """The list, or its chunks in order."""

        list: Items = pin(description="The list or a chunk of it")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """An item that is larger than a chunk may be makes a chunk of its own."""
        chunk: Items = []
        tokens = 0
        for value in input.values:
            cost = _tokens(value) if input.max_tokens else 0
            is_full = bool(input.max_size and len(chunk) >= input.max_size)
            is_heavy = bool(input.max_tokens and tokens + cost > input.max_tokens)
            if chunk and (is_full or is_heavy):
                yield "list", chunk
                chunk, tokens = [], 0
            chunk.append(value)
            tokens += cost
        if chunk or not input.values:
            yield "list", chunk

    vectors = (
        Vector(input={"values_$_0": "a", "values_$_2": "c"}, outputs=[("list", ["a", None, "c"])]),
        Vector(input={"values": [1, 2, 3], "max_size": 2}, outputs=[("list", [1, 2]), ("list", [3])]),
    )


class AddToListBlock(Block):
    """Adds one item, several, or both to a list, at its end or at a position."""

    id = "aeb08fc1-2fc1-4141-bc8e-f758f183a822"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The list, what to add and where."""

        list: Items = pin(default_factory=_no_items, description="The list; a new one when not set", advanced=False)
        entry: Any = pin(None, description="An item to add", placeholder="{'new_key': 'new_value'}", advanced=False)
        entries: Items = pin(default_factory=_no_items, description="More items; they come before the single one")
        position: int | None = pin(None, description="Index to add at; the end when not set")

    Output = ListOutput

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """A position beyond the end means the end."""
        added = [*input.entries] if input.entry is None else [*input.entries, input.entry]
        at = len(input.list) if input.position is None else input.position
        yield "updated_list", [*input.list[:at], *added, *input.list[at:]]

    vectors = (
        Vector(input={"list": [1, 2], "entry": 3, "position": 0}, outputs=[("updated_list", [3, 1, 2])]),
        Vector(input={"list": [1], "entry": 4, "entries": [2, 3]}, outputs=[("updated_list", [1, 2, 3, 4])]),
    )


class FindInListBlock(Block):
    """Finds the first place of a value in a list."""

    id = "5e2c6d0a-1e37-489f-b1d0-8e1812b23333"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The list and the value."""

        list: Items = pin(description="The list")
        value: Any = pin(description="What to find")

    class Output(BlockOutput):
        """Where it is."""

        index: int = pin(description="Index of the first such item")
        found: bool = pin(description="Whether there is one")
        not_found_value: Any = pin(description="The value, when there is none")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        if input.value in input.list:
            yield "index", input.list.index(input.value)
            yield "found", True
        else:
            yield "found", False
            yield "not_found_value", input.value

    vectors = (
        Vector(input={"list": [[1], [2]], "value": [2]}, outputs=[("index", 1), ("found", True)]),
        Vector(input={"list": [], "value": 1}, outputs=[("found", False), ("not_found_value", 1)]),
    )


class GetListItemBlock(Block):
    """Gives the item at an index of a list; negative indexes count from the end."""

    id = "262ca24c-1025-43cf-a578-534e23234e97"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The list and the index."""

        list: Items = pin(description="The list")
        index: int = pin(description="Index of the item, from 0 or from -1 backwards")

    class Output(BlockOutput):
        """The item."""

        item: Any = pin(description="The item")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when there is no such item."""
        yield "item", input.list[_checked(input.index, input.list)]

    vectors = (
        Vector(input={"list": ["a", "b"], "index": -1}, outputs=[("item", "b")]),
        Vector(input={"list": [], "index": 0}, error="Index out of range"),
    )


class RemoveFromListBlock(Block):
    """Removes an item from a list, by its value or its index."""

    id = "d93c5a93-ac7e-41c1-ae5c-ef67e6e9b826"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The list and which item."""

        list: Items = pin(description="The list")
        value: Any = pin(None, description="The item to remove; the first such one")
        index: int | None = pin(None, description="Index of the item to remove; wins over the value")
        return_item: bool = pin(False, description="Also give the removed item")

    class Output(ListOutput):
        """What is left."""

        removed_item: Any = pin(description="The removed item, when asked for")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when there is no such item."""
        items = [*input.list]
        at = input.index
        if at is None and input.value is not None and input.value in items:
            at = items.index(input.value)
        if at is None or not -len(items) <= at < len(items):
            raise BlockError("Index or value not found")
        removed = items.pop(at)
        yield "updated_list", items
        if input.return_item:
            yield "removed_item", removed

    vectors = (
        Vector(input={"list": [1, 2, 2], "value": 2}, outputs=[("updated_list", [1, 2])]),
        Vector(input={"list": [1]}, error="not found"),
    )


class ReplaceListItemBlock(Block):
    """Replaces the item at an index of a list."""

    id = "fbf62922-bea1-4a3d-8bac-23587f810b38"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The list, the index and the new item."""

        list: Items = pin(description="The list")
        index: int = pin(description="Index of the item, from 0 or from -1 backwards")
        value: Any = pin(description="The new item")

    class Output(ListOutput):
        """The changed list."""

        old_item: Any = pin(description="The item that was there before")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when there is no such item."""
        at = _checked(input.index, input.list)
        items = [*input.list]
        items[at] = input.value
        yield "updated_list", items
        yield "old_item", input.list[at]

    vectors = (Vector(input={"list": [1, 2], "index": -1, "value": "z"}, outputs=[("updated_list", [1, "z"]), ("old_item", 2)]),)


class ListIsEmptyBlock(Block):
    """Tells whether a list has no items."""

    id = "896ed73b-27d0-41be-813c-c1c1dc856c03"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The list."""

        list: Items = pin(description="The list")

    Output = EmptyOutput

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "is_empty", not input.list

    vectors = (Vector(input={"list": [None]}, outputs=[("is_empty", False)]),)


class ReverseListOrderBlock(Block):
    """Turns a list round."""

    id = "422cb708-3109-4277-bfe3-bc2ae5812777"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The list."""

        input_list: Items = pin(description="The list")

    class Output(BlockOutput):
        """The list, last item first."""

        reversed_list: Items = pin(description="The list, last item first")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "reversed_list", input.input_list[::-1]

    vectors = (Vector(input={"input_list": [1, 2, 3]}, outputs=[("reversed_list", [3, 2, 1])]),)


def _checked(index: int, items: Items) -> int:
    if not -len(items) <= index < len(items):
        raise BlockError("Index out of range")
    return index


def _tokens(value: Any) -> int:
    return max(1, len(str(value)) // _CHARS_PER_TOKEN)
