"""Reads which version of a graph is meant, and all about it but its nodes. Every start of a run asks: one query for all who do at once."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg

from mesh.gathered import Gathered
from services.graph.versions import Head

# A caller that waits longer for a connection is gone.
ACQUIRE_TIMEOUT_S = 1.0

_HEADS = """
SELECT asked.place::int, g.id::text, v.version, v.version = g.active_version, v.name, v.description, v.instructions,
    v.input_schema, v.output_schema, v.create_time, g.update_time
FROM unnest($1::uuid[], $2::text[], $3::int[]) WITH ORDINALITY AS asked(id, owner_id, version, place)
JOIN graph g ON g.id = asked.id AND g.owner_id = asked.owner_id
JOIN graph_version v ON v.graph_id = g.id AND v.version = CASE asked.version WHEN 0 THEN g.active_version ELSE asked.version END
"""

# Graph, owner, version; version 0 is the active one.
Key = tuple[UUID, str, int]


class Heads:
    """Heads of versions, as they are when asked for."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._gathered: Gathered[Key, Head] = Gathered(self._ask)

    async def get(self, graph_id: UUID, owner_id: str, version: int) -> Head | None:
        """The head of a version, the active one for 0; None when the owner has no such graph or version."""
        return await self._gathered.get((graph_id, owner_id, version))

    async def _ask(self, keys: Sequence[Key]) -> Mapping[Key, Head]:
        columns = [list(column) for column in zip(*keys, strict=True)]
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            rows = await connection.fetch(_HEADS, *columns)
        return {keys[row[0] - 1]: Head(*tuple(row)[1:]) for row in rows}
