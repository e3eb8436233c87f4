"""What the graph service holds of a person: their graphs, all versions, and drafts."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import orjson

from mesh.connections import BULK_TIMEOUT_S
from mesh.personal_data import Piece, line
from services.graph.kept import KeptGraphs

_PAGE = 50
_FILE = "graphs.ndjson"
_DRAFTS_FILE = "drafts.ndjson"

_VERSIONS = """
SELECT graph_id, version, name, description, instructions, document, create_time FROM graph_version
WHERE owner_id = $1 AND (graph_id, version) > ($2::uuid, $3::int) ORDER BY graph_id, version LIMIT $4
"""
_DRAFTS = """
SELECT graph_id, base_version, name, description, instructions, document, create_time, update_time FROM draft
WHERE owner_id = $1 AND graph_id > $2::uuid ORDER BY graph_id LIMIT $3
"""
_NO_UUID = "00000000-0000-0000-0000-000000000000"
_ERASE_DRAFTS = "DELETE FROM draft WHERE owner_id = $1"
_ERASE = "DELETE FROM graph WHERE owner_id = $1 RETURNING id"


class GraphData:
    """Graphs of people."""

    def __init__(self, pool: "asyncpg.Pool[Any]", kept: KeptGraphs) -> None:
        self._pool = pool
        self._kept = kept

    async def export(self, user_id: str) -> AsyncIterator[Piece]:
        """All versions of all graphs, one a line, and all drafts."""
        after: tuple[Any, int] = (_NO_UUID, 0)
        while rows := await self._pool.fetch(_VERSIONS, user_id, *after, _PAGE):
            yield _piece(_FILE, rows)
            after = rows[-1]["graph_id"], rows[-1]["version"]
        last = _NO_UUID
        while rows := await self._pool.fetch(_DRAFTS, user_id, last, _PAGE):
            yield _piece(_DRAFTS_FILE, rows)
            last = rows[-1]["graph_id"]

    async def erase(self, user_id: str) -> None:
        """Deletes all of it, also what is kept in caches."""
        await self._pool.execute(_ERASE_DRAFTS, user_id, timeout=BULK_TIMEOUT_S)
        for row in await self._pool.fetch(_ERASE, user_id, timeout=BULK_TIMEOUT_S):
            await self._kept.deleted(str(row["id"]))


def _piece(file: str, rows: "Sequence[asyncpg.Record]") -> Piece:
    return Piece(file, b"".join(line({**row, "document": orjson.Fragment(row["document"])}) for row in rows))
