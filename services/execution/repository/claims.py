"""Claims: how executions come to a worker, by the database's clock and fair between their owners.

A claim is one conditional UPDATE that makes `epoch` one more; whoever claimed before is fenced off by that. A row that someone else has
locked is being claimed, committed or cancelled: it is left, and the sweep comes back.

Executions that start are held to two limits: how many an owner may have at work everywhere, and how many of this worker's slots one owner
may fill, so that another's run finds a slot. Executions that go on (their worker was lost, or what they waited for has come) are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.execution.repository.leases import Claim

# Longer than any of these takes: the database does not answer, and the caller tries again.
_TIMEOUT_S = 5.0
# Owners that one search for queued executions looks at; the next one goes on after them.
_OWNERS_AT_ONCE = 64
# A timer's message may come a little before its time by the database's clock; the run waits for the rest by itself.
_EARLY_S = 0.2

GIVE = """
UPDATE execution e SET
    status = 'RUNNING',
    epoch = e.epoch + 1,
    worker_id = $1,
    lease_until = now() + make_interval(secs => $2),
    wake_time = NULL,
    verdict = '',
    attempts = e.attempts + 1,
    start_time = coalesce(e.start_time, clock_timestamp())
FROM mine WHERE e.id = mine.id
RETURNING e.id::text, e.owner_id, e.graph_id, e.graph_version, e.inputs, e.input_masks, e.epoch, e.last_seq, e.attempts,
    e.cancel_requested, e.dry_run, extract(epoch FROM e.start_time)::float8 AS start_time_s,
    e.signals, e.parent_id::text, e.parent_firing, e.root_id::text, e.depth, e.retry_of::text, e.timezone,
    e.agents, e.graph_revision, e.losses
"""

_IS_PARKED = "status IN ('RUNNING', 'REVIEW')"

_BUSY = """
    SELECT owner_id, count(*) AS everywhere, count(*) FILTER (WHERE worker_id = $1) AS here
    FROM execution WHERE status = 'RUNNING' AND worker_id <> '' AND owner_id IN (SELECT owner_id FROM {owners}) GROUP BY owner_id
"""

_CLAIM = f"""
WITH wanted AS (
    SELECT id, owner_id, status = 'QUEUED' AS is_new FROM execution
    WHERE id = ANY($5::text[]::uuid[]) AND (status = 'QUEUED' OR ({_IS_PARKED} AND wake_time < now() + make_interval(secs => {_EARLY_S}))
        OR (status = 'RUNNING' AND worker_id <> '' AND verdict = 'LOST'))
    FOR UPDATE SKIP LOCKED
), busy AS ({_BUSY.format(owners="wanted")}
), mine AS (
    SELECT id FROM (
        SELECT id, is_new, row_number() OVER (PARTITION BY owner_id, is_new ORDER BY id) AS place, everywhere, here
        FROM wanted LEFT JOIN busy USING (owner_id)
    ) ranked
    WHERE NOT is_new OR (coalesce(everywhere, 0) + place <= $3 AND coalesce(here, 0) + place <= $4)
)
{GIVE}
"""  # noqa: S608 - composed of constants

_LOST = """
    SELECT id FROM execution WHERE status = 'RUNNING' AND worker_id <> '' AND verdict = 'LOST'
    ORDER BY id LIMIT {limit} FOR UPDATE SKIP LOCKED
"""

# Of those that have been due longest, each owner's first, then each owner's second.
_DUE = f"""
    SELECT e.id FROM (
        SELECT id, wake_time, row_number() OVER (PARTITION BY owner_id ORDER BY wake_time) AS place
        FROM (SELECT id, owner_id, wake_time FROM execution WHERE {_IS_PARKED} AND wake_time < now() ORDER BY wake_time LIMIT 1000) longest
    ) d JOIN execution e ON e.id = d.id WHERE {_IS_PARKED} AND e.wake_time < now()
    ORDER BY d.place, d.wake_time LIMIT {{limit}} FOR UPDATE OF e SKIP LOCKED
"""  # noqa: S608

# The owners are found by steps through the index, whatever the length of their queues.
_CLAIM_NEXT = f"""
WITH RECURSIVE lost AS ({_LOST.format(limit="$5::int")}
), due AS ({_DUE.format(limit="($5::int - (SELECT count(*) FROM lost) + $7::int) / 2")}
), ongoing AS (
    SELECT id FROM lost UNION ALL SELECT id FROM due
), steps AS (
    (SELECT owner_id FROM execution WHERE status = 'QUEUED' AND owner_id > $6 ORDER BY owner_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.owner_id FROM execution e WHERE e.status = 'QUEUED' AND e.owner_id > s.owner_id ORDER BY e.owner_id LIMIT 1)
    FROM steps s WHERE s.owner_id IS NOT NULL
), owners AS MATERIALIZED (
    SELECT owner_id FROM steps WHERE owner_id IS NOT NULL LIMIT {_OWNERS_AT_ONCE}
), busy AS ({_BUSY.format(owners="owners")}
), chosen AS (
    SELECT q.id, coalesce(everywhere, 0) + q.place AS rank, q.create_time
    FROM owners LEFT JOIN busy USING (owner_id) CROSS JOIN LATERAL (
        SELECT id, create_time, row_number() OVER (ORDER BY create_time) AS place FROM (
            SELECT id, create_time FROM execution WHERE status = 'QUEUED' AND owner_id = owners.owner_id
            ORDER BY create_time LIMIT 2 * $5::int
        ) oldest
    ) q
    WHERE coalesce(everywhere, 0) + q.place <= $3 AND coalesce(here, 0) + q.place <= $4
    ORDER BY rank, create_time LIMIT 2 * $5::int
), queued AS (
    SELECT e.id FROM chosen c JOIN execution e ON e.id = c.id WHERE e.status = 'QUEUED'
    ORDER BY c.rank, c.create_time LIMIT $5::int - (SELECT count(*) FROM ongoing) FOR UPDATE OF e SKIP LOCKED
), mine AS (
    SELECT id FROM ongoing UNION ALL SELECT id FROM queued
), given AS ({GIVE})
SELECT (SELECT max(owner_id) FROM owners HAVING count(*) = {_OWNERS_AT_ONCE}) AS cursor, given.* FROM (SELECT) one LEFT JOIN given ON true
"""  # noqa: S608

_CLAIM_LOST = f"WITH mine AS ({_LOST.format(limit='$3')}) {GIVE}"
_CLAIM_DUE = f"WITH mine AS ({_DUE.format(limit='$3')}) {GIVE}"

_ARE_DUE = f"SELECT id::text FROM execution WHERE id = ANY($1::text[]::uuid[]) AND {_IS_PARKED} AND wake_time <= now()"  # noqa: S608

_IS_QUEUED = "SELECT EXISTS (SELECT 1 FROM execution WHERE status = 'QUEUED' AND create_time < now() - make_interval(secs => $1))"


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """Executions of one owner that may be at work: everywhere, and on one worker."""

    everywhere: int
    here: int


class Claims:
    """Claims executions for one worker."""

    def __init__(self, pool: asyncpg.Pool, worker_id: str, lease_s: float, limits: OwnerLimits) -> None:
        self._pool = pool
        self._for_us = worker_id, lease_s
        self._limits = limits.everywhere, limits.here
        self._cursor = ""
        self._turn = 0

    async def claim(self, execution_ids: Sequence[str], *, with_queued: bool = True) -> list[Claim]:
        """Claims those of the given executions that are due, lost or given back, and queued ones as their owners' limits allow. Suspects
        are left.
        """
        limits = self._limits if with_queued else (0, 0)
        rows = await self._pool.fetch(_CLAIM, *self._for_us, *limits, list(execution_ids), timeout=_TIMEOUT_S)
        return [Claim(*row) for row in rows]

    async def claim_next(self, limit: int) -> list[Claim]:
        """Claims what goes on before what starts: all that was lost, then half of the rest for what is due, then queued executions, of the
        owners with the fewest at work first, and each owner's oldest first.
        """
        # Of an odd number, the larger half goes to what is due every other time: one slot is shared by turns.
        self._turn = 1 - self._turn
        rows = await self._pool.fetch(_CLAIM_NEXT, *self._for_us, *self._limits, limit, self._cursor, self._turn, timeout=_TIMEOUT_S)
        self._cursor = rows[0][0] or ""
        return [Claim(*tuple(row)[1:]) for row in rows if row[1] is not None]

    async def claim_lost(self, limit: int) -> list[Claim]:
        """Claims executions that another worker lost or gave back, and that may run beside others."""
        rows = await self._pool.fetch(_CLAIM_LOST, *self._for_us, limit, timeout=_TIMEOUT_S)
        return [Claim(*row) for row in rows]

    async def claim_due(self, limit: int) -> list[Claim]:
        """Claims parked executions whose time or answer has come."""
        rows = await self._pool.fetch(_CLAIM_DUE, *self._for_us, limit, timeout=_TIMEOUT_S)
        return [Claim(*row) for row in rows]

    async def due(self, execution_ids: Sequence[str]) -> list[str]:
        """Those of the given executions that are parked and due."""
        return [row[0] for row in await self._pool.fetch(_ARE_DUE, list(execution_ids), timeout=_TIMEOUT_S)]

    async def is_any_queued(self, for_s: float) -> bool:
        """True while some execution has been queued for that long."""
        found: bool = await self._pool.fetchval(_IS_QUEUED, for_s, timeout=_TIMEOUT_S)
        return found
