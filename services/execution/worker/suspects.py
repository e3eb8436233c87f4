"""Runs of lost workers: which of them may be what kills workers, and how to find out without harm to the others.

Whatever a lost worker held is first judged, all of it at once (`verdict`):

- The first time it may go on with anyone (LOST). After a second loss without a firing ended between, a run is a SUSPECT.
- A suspect goes on *on probation*: its worker takes nothing else until it has survived for a while, twice as long after each loss. It
  goes to a worker that has nothing to lose; where all are busy, to any of them after `PATIENCE_S`. One at a time in all workers but one, so
  that someone serves the others.
- A worker that is lost while it has a run on probation was killed by that run: what was beside it is not blamed, and the start that was cut
  off does not count as an attempt of theirs. Otherwise an attempt beyond the second counts only for a run that its worker held alone.

So a run that kills its workers is alone from its third start on, and given up after five; the others are resumed a few times.
"""

import time
from dataclasses import dataclass

import asyncpg

from services.execution.worker.claims import GIVE
from services.execution.worker.leases import Claim
from services.execution.worker.liveness import LOCK_CLASS, LOCK_OF_WORKER

_TIMEOUT_S = 5.0
# A worker whose lock is gone is dead, or cut off from the database for a moment: then it renews its leases within this time.
LOCK_GRACE_S = 1.0
# Losses in a row that make a suspect.
SUSPECT_AFTER = 2
PROBATION_S = 1.0
_MAX_PROBATION_S = 60.0
# How long suspects wait for a worker that has nothing to lose.
PATIENCE_S = 5.0

_ALIVE = f"""
    SELECT objid::bigint FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE locktype = 'advisory' AND classid = {LOCK_CLASS} AND objsubid = 2 AND granted AND datname = current_database()
"""  # noqa: S608 - composed of constants

# Leases of a live worker run out when it never heard that a claim of it was done: nobody is to blame then.
_JUDGE = f"""
WITH alive AS ({_ALIVE}), held AS (
    SELECT id, epoch, lease_until, attempts, verdict, {LOCK_OF_WORKER} IN (SELECT objid FROM alive) AS has_lock,
        max(lease_until) OVER worker AS renewed_until, count(*) OVER worker AS beside,
        bool_or(verdict = 'PROBATION') OVER worker AS is_solved
    FROM execution WHERE status = 'RUNNING' AND worker_id <> '' AND verdict IN ('', 'PROBATION')
    WINDOW worker AS (PARTITION BY worker_id)
), lost AS (
    SELECT *, CASE WHEN NOT is_dead THEN greatest(attempts - 1, 0) WHEN verdict = 'PROBATION' OR beside = 1 THEN attempts
        WHEN is_solved THEN greatest(attempts - 1, 0) ELSE least(attempts, {SUSPECT_AFTER}) END AS counted,
        is_dead AND (verdict = 'PROBATION' OR NOT is_solved) AS is_blamed
    FROM (
        SELECT *, renewed_until < now()
            OR (renewed_until < now() + make_interval(secs => $1::float8 - $2::float8) AND NOT has_lock) AS is_dead FROM held
    ) seen
    WHERE is_dead OR lease_until < now()
), mine AS (
    SELECT e.id, l.counted, l.is_blamed FROM lost l JOIN execution e ON e.id = l.id AND e.epoch = l.epoch
    WHERE e.status = 'RUNNING' AND e.worker_id <> '' AND e.lease_until = l.lease_until
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE execution e SET
    epoch = e.epoch + 1,
    lease_until = now() - interval '1 microsecond',
    losses = CASE WHEN NOT is_blamed THEN e.losses WHEN counted > 1 THEN e.losses + 1 ELSE 1 END,
    attempts = counted,
    verdict = CASE WHEN is_blamed AND counted >= {SUSPECT_AFTER} THEN 'SUSPECT' ELSE 'LOST' END
FROM mine WHERE e.id = mine.id
RETURNING e.id::text, e.verdict
"""  # noqa: S608

# The most suspect first, then the one that started last: whatever ran for long without harm is hardly the one.
_CLAIM_SUSPECT = f"""
WITH mine AS (
    SELECT id FROM execution
    WHERE status = 'RUNNING' AND worker_id <> '' AND verdict = 'SUSPECT'
        AND ($3 OR lease_until < now() - make_interval(secs => {PATIENCE_S}))
        AND (SELECT count(*) FROM execution WHERE status = 'RUNNING' AND worker_id <> '' AND verdict = 'PROBATION')
            < greatest((SELECT count(*) FROM ({_ALIVE}) workers) - 1, 1)
    ORDER BY attempts DESC, start_time DESC LIMIT 1 FOR UPDATE SKIP LOCKED
)
{GIVE.replace("verdict = ''", "verdict = 'PROBATION'")}, e.losses
"""  # noqa: S608

_ACQUIT = "UPDATE execution SET verdict = '' WHERE id = $1 AND epoch = $2 AND verdict = 'PROBATION'"


@dataclass(frozen=True, slots=True)
class Probation:
    """A suspect at work, and until when it is one (on the monotonic clock)."""

    claim: Claim
    until: float

    @property
    def is_over(self) -> bool:
        """True when it has survived."""
        return time.monotonic() >= self.until


class Suspects:
    """Judges what lost workers held, and gives suspects to one worker."""

    def __init__(self, pool: asyncpg.Pool, worker_id: str, lease_s: float) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._lease_s = lease_s

    async def judge(self) -> int:
        """Takes the leases of lost workers away, and says how each of their runs may go on. Returns how many runs are suspects now."""
        grace_s = min(LOCK_GRACE_S, self._lease_s)
        rows = await self._pool.fetch(_JUDGE, self._lease_s, grace_s, timeout=_TIMEOUT_S)
        return sum(row["verdict"] == "SUSPECT" for row in rows)

    async def claim(self, *, is_idle: bool) -> Probation | None:
        """Claims the suspect whose turn it is, if one may be at work here; `is_idle` says that this worker has nothing to lose."""
        row = await self._pool.fetchrow(_CLAIM_SUSPECT, self._worker_id, self._lease_s, is_idle, timeout=_TIMEOUT_S)
        if row is None:
            return None
        *claim, losses = row
        period_s = min(PROBATION_S * 2.0 ** min(max(losses - SUSPECT_AFTER, 0), 10), _MAX_PROBATION_S)
        return Probation(Claim(*claim), time.monotonic() + period_s)

    async def acquit(self, probation: Probation) -> None:
        """The run has survived: it is one like any other, until its worker is lost."""
        await self._pool.execute(_ACQUIT, probation.claim.execution_id, probation.claim.epoch, timeout=_TIMEOUT_S)
