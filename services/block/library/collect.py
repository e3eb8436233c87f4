"""Gathers the values of a stream."""

from typing import Any, ClassVar

from services.block.sdk import Block, BlockContext, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin


class CollectBlock(Block):
    """Gathers all values that come to it and hands them on as one list when no more can come.

    Without a source that is when nothing before it in the graph has anything left to do, and something came since the last list; a stream
    without values makes one empty list. With a source, there is exactly one list for each time that the source ran: everything that came of
    that, be it nothing. A list is not held up by values that wait for others that never come.
    """

    id = "2c6f8b0a-7c1e-4a43-9a1f-3f0d0f2b9e54"
    categories = (Category.BASIC, Category.DATA)
    effect = Effect.PURE
    gathers: ClassVar[str] = "item"

    class Input(BlockInput):
        """The stream."""

        item: Any = pin(description="Each value of the stream")
        source: str = pin("", description="Id of the node whose every run makes a list of its own; empty for one list of all")

    class Output(BlockOutput):
        """The list."""

        items: list[Any] = pin(description="The values in the order they came")
        count: int = pin(description="How many there are")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails. In a graph the item is the list of all that came."""
        items = input.item if isinstance(input.item, list) else [input.item]
        yield "items", items
        yield "count", len(items)

    vectors = (
        Vector(input={"item": [1, 2]}, outputs=[("items", [1, 2]), ("count", 2)]),
        Vector(input={"item": []}, outputs=[("items", []), ("count", 0)]),
    )
