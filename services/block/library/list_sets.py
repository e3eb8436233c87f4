"""Lists as wholes: joining, flattening, zipping, comparing."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice, zip_longest
from typing import Any, TypeAlias

from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin

Items: TypeAlias = list[Any]
_GAP = object()
# Padding can make far more items than came in.
MAX_CELLS = 1_000_000


class ListsInput(BlockInput):
    """Several lists."""

    lists: list[Items] = pin(description="The lists; link to `lists_$_0` for one of them")


class ConcatenateListsBlock(Block):
    """Joins lists to one, on request without repeats and nulls."""

    id = "3cf9298b-5817-4141-9d80-7c2cc5199c8e"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(ListsInput):
        """The lists and what to leave out."""

        deduplicate: bool = pin(False, description="Keep only the first of equal items")
        remove_none: bool = pin(False, description="Leave out nulls")

    class Output(BlockOutput):
        """The joined list."""

        concatenated_list: Items = pin(description="The joined list")
        length: int = pin(description="Its number of items")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        items: Iterable[Any] = chain.from_iterable(input.lists)
        if input.remove_none:
            items = (item for item in items if item is not None)
        joined = _unique(items) if input.deduplicate else list(items)
        yield "concatenated_list", joined
        yield "length", len(joined)

    vectors = (Vector(input={"lists": [[1], [2, 1]], "deduplicate": True}, outputs=[("concatenated_list", [1, 2]), ("length", 2)]),)


class FlattenListBlock(Block):
    """Dissolves lists within a list, down to a depth."""

    id = "cc45bb0f-d035-4756-96a7-fe3e36254b4d"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The list and the depth."""

        nested_list: Items = pin(description="The list")
        max_depth: int = pin(-1, description="How many levels to dissolve; -1 for all")

    class Output(BlockOutput):
        """The flat list."""

        flattened_list: Items = pin(description="The flat list")
        length: int = pin(description="Its number of items")
        original_depth: int = pin(description="Levels that the list had")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails for a depth below -1."""
        if input.max_depth < -1:
            raise BlockError(f"max_depth must be -1 (unlimited) or a non-negative integer, got {input.max_depth}")
        depth = _depth(input.nested_list)
        flat = input.nested_list
        for _ in range(depth - 1 if input.max_depth == -1 else min(input.max_depth, depth - 1)):
            flat = list(chain.from_iterable(item if isinstance(item, list) else (item,) for item in flat))
        yield "flattened_list", flat
        yield "length", len(flat)
        yield "original_depth", depth

    vectors = (
        Vector(
            input={"nested_list": [1, [2, [3]]], "max_depth": 1},
            outputs=[("flattened_list", [1, 2, [3]]), ("length", 3), ("original_depth", 3)],
        ),
    )


class InterleaveListsBlock(Block):
    """Takes one item of each list in turn until all are used up."""

    id = "9f616084-1d9f-4f8e-bc00-5b9d2a75cd75"
    categories = (Category.BASIC,)
    effect = Effect.PURE
    Input = ListsInput

    class Output(BlockOutput):
        """The mixed list."""

        interleaved_list: Items = pin(description="The mixed list")
        length: int = pin(description="Its number of items")

    async def run(self, input: ListsInput, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        mixed: Items = []
        waiting = [iter(items) for items in input.lists]
        while waiting:
            # Lists that are used up leave the round: many short ones beside a long one would cost their product otherwise.
            turn = [(rest, next(rest, _GAP)) for rest in waiting]
            waiting = [rest for rest, item in turn if item is not _GAP]
            mixed += [item for _, item in turn if item is not _GAP]
        yield "interleaved_list", mixed
        yield "length", len(mixed)

    vectors = (Vector(input={"lists": [[1, 2], ["a"]]}, outputs=[("interleaved_list", [1, "a", 2]), ("length", 3)]),)


class ZipListsBlock(Block):
    """Puts the first items of all lists together, then the second ones, and so on."""

    id = "0d0e684f-5cb9-4c4b-b8d1-47a0860e0c07"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(ListsInput):
        """The lists, and what to do when they differ in length."""

        pad_to_longest: bool = pin(False, description="Go on to the end of the longest list instead of the shortest")
        fill_value: Any = pin(None, description="What stands in for missing items")

    class Output(BlockOutput):
        """The rows."""

        zipped_list: list[Items] = pin(description="The rows, each with one item per list")
        length: int = pin(description="The number of rows")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when the rows would have more than MAX_CELLS items in all."""
        length = max(map(len, input.lists), default=0)
        if not input.pad_to_longest:
            length = min(map(len, input.lists), default=0)
        if length * len(input.lists) > MAX_CELLS:
            raise BlockError(f"The rows would have more than {MAX_CELLS} items")
        rows = zip_longest(*input.lists, fillvalue=input.fill_value)
        zipped = [list(row) for row in islice(rows, length)]
        yield "zipped_list", zipped
        yield "length", len(zipped)

    vectors = (Vector(input={"lists": [[1, 2], ["a"]]}, outputs=[("zipped_list", [[1, "a"]]), ("length", 1)]),)


class TwoListsInput(BlockInput):
    """Two lists."""

    list_a: Items = pin(description="The first list")
    list_b: Items = pin(description="The second list")


class ListDifferenceBlock(Block):
    """Gives the items of one list that the other does not have, each once."""

    id = "05309873-9d61-447e-96b5-b804e2511829"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(TwoListsInput):
        """The lists, and whether to look both ways."""

        symmetric: bool = pin(False, description="Also give the items that only the second list has")

    class Output(BlockOutput):
        """The items."""

        difference: Items = pin(description="The items, in order")
        length: int = pin(description="Their number")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        found = [*_without(input.list_a, input.list_b)]
        if input.symmetric:
            found += _without(input.list_b, input.list_a)
        unique = _unique(found)
        yield "difference", unique
        yield "length", len(unique)

    vectors = (Vector(input={"list_a": [1, 2], "list_b": [2, 3], "symmetric": True}, outputs=[("difference", [1, 3]), ("length", 2)]),)


class ListIntersectionBlock(Block):
    """Gives the items that two lists have in common, each once."""

    id = "b6eb08b6-dbe3-411b-b9b4-2508cb311a1f"
    categories = (Category.BASIC,)
    effect = Effect.PURE
    Input = TwoListsInput

    class Output(BlockOutput):
        """The items."""

        intersection: Items = pin(description="The items, in the order of the first list")
        length: int = pin(description="Their number")

    async def run(self, input: TwoListsInput, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        known = {_identity(item) for item in input.list_b}
        common = _unique(item for item in input.list_a if _identity(item) in known)
        yield "intersection", common
        yield "length", len(common)

    vectors = (Vector(input={"list_a": [1, 2, 2], "list_b": [2]}, outputs=[("intersection", [2]), ("length", 1)]),)


def _identity(item: Any) -> Any:
    """Something that can be looked up and is equal for equal items (1, 1.0 and true are; the order of keys does not matter)."""
    if isinstance(item, list):
        return ("list", *map(_identity, item))
    if isinstance(item, dict):
        return ("dict", frozenset((key, _identity(value)) for key, value in item.items()))
    return item


def _unique(items: Iterable[Any]) -> Items:
    found: dict[Any, Any] = {}
    for item in items:
        found.setdefault(_identity(item), item)
    return list(found.values())


def _without(items: Items, others: Items) -> Iterator[Any]:
    known = {_identity(item) for item in others}
    return (item for item in items if _identity(item) not in known)


def _depth(items: Items) -> int:
    """Levels of lists within lists, without recursion: user data may nest deeper than the stack."""
    depth, level = 0, [items]
    while level:
        depth += 1
        level = [item for holder in level for item in holder if isinstance(item, list)]
    return depth
