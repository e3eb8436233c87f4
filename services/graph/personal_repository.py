"""The SQL about all that one person has: for archives, page by page, and for the end of an account."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from mesh.connections import BULK_TIMEOUT_S

_PAGE = 50

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
_ERASE = "DELETE FROM graph WHERE owner_id = $1 RETURNING id::text"


class PersonalRows:
    """Rows of one person."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def versions(self, owner_id: str) -> "AsyncIterator[Sequence[asyncpg.Record]]":
        """All versions of all graphs."""
        after: tuple[Any, int] = (_NO_UUID, 0)
        while rows := await self._pool.fetch(_VERSIONS, owner_id, *after, _PAGE):
            yield rows
            after = rows[-1]["graph_id"], rows[-1]["version"]

    async def drafts(self, owner_id: str) -> "AsyncIterator[Sequence[asyncpg.Record]]":
        """All drafts."""
        last = _NO_UUID
        while rows := await self._pool.fetch(_DRAFTS, owner_id, last, _PAGE):
            yield rows
            last = rows[-1]["graph_id"]

    async def erase(self, owner_id: str) -> list[str]:
        """Deletes all of it. Returns the ids of the graphs."""
        await self._pool.execute(_ERASE_DRAFTS, owner_id, timeout=BULK_TIMEOUT_S)
        return [row[0] for row in await self._pool.fetch(_ERASE, owner_id, timeout=BULK_TIMEOUT_S)]
