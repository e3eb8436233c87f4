"""Checks graphs against the blocks that are installed now, and makes them ready to be saved."""

from services.graph.block_source import BlockSource
from services.graph.drafts import Content, content_of
from services.graph.errors import graph_invalid
from services.graph.model import Graph, block_ids
from services.graph.validation import unknown_block_ids, validate
from services.graph.versions import Prepared, prepared


class Checks:
    """Raises UnavailableError while nothing is known of the blocks."""

    def __init__(self, blocks: BlockSource) -> None:
        self._blocks = blocks

    async def saveable(self, graph: Graph, before: Graph | None = None) -> Prepared:
        """The graph as a version. Blocks that are missing in `before` too are tolerated. Raises InvalidArgumentError (GRAPH_INVALID)."""
        catalogue = await self._blocks.get(block_ids(graph))
        tolerated = frozenset() if before is None else unknown_block_ids(before, catalogue)
        problems = validate(graph, catalogue, tolerated=tolerated)
        if problems:
            raise graph_invalid(problems)
        return prepared(graph, catalogue)

    async def content(self, graph: Graph) -> Content:
        """The graph as a draft, whatever is wrong with it."""
        return content_of(graph, await self._blocks.get(block_ids(graph)))
