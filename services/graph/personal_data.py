"""What the graph service holds of a person: their graphs, all versions."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson

from mesh.personal_data import Piece, line

_PAGE = 50
_FILE = "graphs.ndjson"

_VERSIONS = """
SELECT graph_id, version, name, description, instructions, document, create_time FROM graph_version
WHERE owner_id = $1 AND (graph_id, version) > ($2::uuid, $3::int) ORDER BY graph_id, version LIMIT $4
"""
_NO_UUID = "00000000-0000-0000-0000-000000000000"
_ERASE = "DELETE FROM graph WHERE owner_id = $1"


class GraphData:
    """Graphs of people."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def export(self, user_id: str) -> AsyncIterator[Piece]:
        """All versions of all graphs, one a line."""
        after: tuple[Any, int] = (_NO_UUID, 0)
        while rows := await self._pool.fetch(_VERSIONS, user_id, *after, _PAGE):
            yield Piece(_FILE, b"".join(line({**row, "document": orjson.Fragment(row["document"])}) for row in rows))
            after = rows[-1]["graph_id"], rows[-1]["version"]

    async def erase(self, user_id: str) -> None:
        """Deletes all graphs."""
        await self._pool.execute(_ERASE, user_id)
