"""The SQL that deletes executions, with all that belongs to them."""

import datetime as dt
from typing import Any

import asyncpg

from mesh.connections import BULK_TIMEOUT_S

_BATCH = 200

_UNFINISHED = "SELECT id::text FROM execution WHERE owner_id = $1 AND end_time IS NULL LIMIT 1000"

_DELETE = """
WITH gone AS (
    DELETE FROM execution WHERE id IN (SELECT id FROM execution WHERE {} LIMIT $2) RETURNING id
), events AS (
    DELETE FROM execution_event WHERE execution_id IN (SELECT id FROM gone)
), signals AS (
    DELETE FROM execution_signal WHERE execution_id IN (SELECT id FROM gone)
), contents AS (
    DELETE FROM execution_value WHERE execution_id IN (SELECT id FROM gone)
)
SELECT count(*)::int FROM gone
"""
_DELETE_OF = _DELETE.format("owner_id = $1 AND end_time IS NOT NULL")
# A child goes with or after the run at the top, whose journal speaks of it.
_DELETE_OLD = _DELETE.format(
    """end_time < $1 AND NOT EXISTS (
        SELECT FROM execution top WHERE top.id = execution.root_id AND (top.end_time IS NULL OR top.end_time >= $1)
    )"""
)
_SNAPSHOTS = "DELETE FROM graph_snapshot WHERE owner_id = $1"


class Erasure:
    """Deletes executions. Every method is one statement."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def unfinished(self, owner_id: str) -> list[str]:
        """Ids of executions of the owner that have not ended, not all of them when there are very many."""
        return [row["id"] for row in await self._pool.fetch(_UNFINISHED, owner_id)]

    async def delete_of(self, owner_id: str) -> int:
        """Deletes a batch of the owner's executions that have ended; how many."""
        return int(await self._pool.fetchval(_DELETE_OF, owner_id, _BATCH, timeout=BULK_TIMEOUT_S) or 0)

    async def delete_snapshots(self, owner_id: str) -> None:
        """Deletes the graph versions that the owner's executions ran."""
        await self._pool.execute(_SNAPSHOTS, owner_id, timeout=BULK_TIMEOUT_S)

    async def delete_before(self, horizon: dt.datetime) -> int:
        """Deletes a batch of executions that ended before `horizon`; how many."""
        return int(await self._pool.fetchval(_DELETE_OLD, horizon, _BATCH, timeout=BULK_TIMEOUT_S) or 0)
