"""What the graph service holds of a person: their graphs, all versions, and drafts."""

from collections.abc import AsyncIterator, Sequence

import asyncpg
import orjson

from mesh.personal_data import Piece, line
from services.graph.kept import KeptGraphs
from services.graph.personal_repository import PersonalRows


class GraphData:
    """Graphs of people."""

    def __init__(self, rows: PersonalRows, kept: KeptGraphs) -> None:
        self._rows = rows
        self._kept = kept

    async def export(self, user_id: str) -> AsyncIterator[Piece]:
        """All versions of all graphs, one a line, and all drafts."""
        async for versions in self._rows.versions(user_id):
            yield _piece("graphs.ndjson", versions)
        async for drafts in self._rows.drafts(user_id):
            yield _piece("drafts.ndjson", drafts)

    async def erase(self, user_id: str) -> None:
        """Deletes all of it, also what is kept in caches."""
        for graph_id in await self._rows.erase(user_id):
            await self._kept.deleted(graph_id)


def _piece(file: str, rows: "Sequence[asyncpg.Record]") -> Piece:
    return Piece(file, b"".join(line({**row, "document": orjson.Fragment(row["document"])}) for row in rows))
