"""Suspects: runs that may be what kills workers. They go on in cells (`cells.py`), where they can harm nobody but each other.

A worker reserves a group of them for a cell that it then starts; the cell claims its group. The group is the smaller the more often a cell
has died with its members: after two losses that were nobody's fault hundreds of runs go on in a few cells, and one that kills is alone at
its last start. A run that kills its workers is given up after five starts (`quarantine.py`); what was beside it is resumed a few times.
"""

import asyncpg

from services.execution.repository.claims import GIVE
from services.execution.repository.leases import Claim
from services.execution.repository.locks import PARENT_OF, has_lock

_TIMEOUT_S = 5.0
# How long a cell may take to start. A reservation ends earlier with the cell, or with the worker that starts it.
START_S = 30.0
# Runs in one cell, by the attempts they have behind them; one alone beyond these.
_GROUPS = {2: 64, 3: 8}
_ALONE_FROM = 4

_SIZE = f"CASE attempts {' '.join(f'WHEN {attempts} THEN {size}' for attempts, size in _GROUPS.items())} ELSE 1 END"

_IS_SUSPECT = "status = 'RUNNING' AND worker_id <> '' AND verdict = 'SUSPECT'"

# Those that have waited longest first, so that nobody starves; with them only their like.
_RESERVE = f"""
WITH ready AS (
    SELECT id, least(attempts, {_ALONE_FROM}) AS attempts, lease_until FROM execution
    WHERE {_IS_SUSPECT} AND (lease_until < now() OR NOT {has_lock(PARENT_OF.format("worker_id"))})
), first AS (
    SELECT attempts, {_SIZE} AS size FROM ready ORDER BY lease_until, id LIMIT 1
), mine AS (
    SELECT e.id FROM ready r JOIN first f USING (attempts) JOIN execution e ON e.id = r.id
    WHERE e.status = 'RUNNING' AND e.worker_id <> '' AND e.verdict = 'SUSPECT' AND e.lease_until = r.lease_until
    ORDER BY r.lease_until, e.id LIMIT (SELECT size FROM first) FOR UPDATE OF e SKIP LOCKED
)
UPDATE execution e SET worker_id = $1, lease_until = now() + make_interval(secs => {START_S})
FROM mine WHERE e.id = mine.id RETURNING e.id::text
"""  # noqa: S608 - composed of constants

_UNRESERVE = f"UPDATE execution SET lease_until = now() - interval '1 microsecond' WHERE worker_id = $1 AND {_IS_SUSPECT}"  # noqa: S608

_CLAIM = f"""
WITH mine AS (
    SELECT id FROM execution WHERE worker_id = $1 AND {_IS_SUSPECT} ORDER BY id FOR UPDATE
)
{GIVE}
"""  # noqa: S608

_AT_WORK = "SELECT DISTINCT worker_id FROM execution WHERE worker_id = ANY($1::text[]) AND status = 'RUNNING' AND verdict = ''"


class Suspects:
    """Statements about suspects; database errors pass through."""

    def __init__(self, pool: asyncpg.Pool, lease_s: float) -> None:
        self._pool = pool
        self._lease_s = lease_s

    async def reserve(self, cell_id: str) -> list[str]:
        """Reserves the suspects whose turn it is for a cell that is about to be started; none when there are none."""
        return [row[0] for row in await self._pool.fetch(_RESERVE, cell_id, timeout=_TIMEOUT_S)]

    async def unreserve(self, cell_id: str) -> None:
        """What the cell did not claim may go to another."""
        await self._pool.execute(_UNRESERVE, cell_id, timeout=_TIMEOUT_S)

    async def claim(self, cell_id: str) -> list[Claim]:
        """Claims what is reserved for the cell, less what was cancelled meanwhile."""
        rows = await self._pool.fetch(_CLAIM, cell_id, self._lease_s, timeout=_TIMEOUT_S)
        return [Claim(*row) for row in rows]

    async def at_work(self, cell_ids: list[str]) -> set[str]:
        """Those of the cells that have leases."""
        return {row[0] for row in await self._pool.fetch(_AT_WORK, cell_ids, timeout=_TIMEOUT_S)}
