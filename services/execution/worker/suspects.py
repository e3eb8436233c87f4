"""Runs of lost workers: which of them may be what kills workers, and how to find out without harm to the others.

Whatever a lost worker held is first judged, all of it at once (`verdict`):

- The first time it may go on with anyone (LOST). After a second loss without a firing ended between, a run is a SUSPECT.
- Suspects go on *on probation*: their worker takes nothing else until they have survived for a while, twice as long after each loss. They
  go to a worker that has nothing to lose; where all are busy, to any of them after `PATIENCE_S`. One worker is always left to serve the
  others, where there are two.
- At their third start up to `_GROUP` squared of them are on probation together, at their fourth up to `_GROUP`, then each alone: after two
  losses that were nobody's fault hundreds of runs go on within seconds, and one that kills is still found.
- A worker that is lost while it has runs on probation was killed by one of these: what was beside them is not blamed, and the start that
  was cut off does not count as an attempt of theirs. Otherwise an attempt beyond the second counts only for a run that was held alone.
- A worker never judges what it holds itself: it lives. What it lost sight of (the answer to a claim never came) goes on without blame.

So a run that kills its workers is given up after five starts, the last of them alone; the others are resumed a few times.
"""

import time
from collections.abc import Iterable
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
PATIENCE_S = 2.0
_GROUP = 8
_ATTEMPTS_ALONE = 4

_ALIVE = f"""
    SELECT objid::bigint FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE locktype = 'advisory' AND classid = {LOCK_CLASS} AND objsubid = 2 AND granted AND datname = current_database()
"""  # noqa: S608 - composed of constants

# Leases of a live worker run out when it never heard that a claim of it was done: nobody is to blame then.
_JUDGE = f"""
WITH alive AS ({_ALIVE}), held AS (
    SELECT id, worker_id, epoch, lease_until, attempts, verdict, {LOCK_OF_WORKER} IN (SELECT objid FROM alive) AS has_lock,
        max(lease_until) OVER worker AS renewed_until, count(*) OVER worker AS beside,
        bool_or(verdict = 'PROBATION') OVER worker AS is_solved
    FROM execution WHERE status = 'RUNNING' AND worker_id <> '' AND verdict IN ('', 'PROBATION')
    WINDOW worker AS (PARTITION BY worker_id)
), lost AS (
    SELECT *, CASE WHEN NOT is_dead THEN greatest(attempts - 1, 0) WHEN verdict = 'PROBATION' OR beside = 1 THEN attempts
        WHEN is_solved THEN greatest(attempts - 1, 0) ELSE least(attempts, {SUSPECT_AFTER}) END AS counted,
        is_dead AND (verdict = 'PROBATION' OR NOT is_solved) AS is_blamed
    FROM (
        SELECT *, worker_id <> $3 AND (renewed_until < now()
            OR (renewed_until < now() + make_interval(secs => $1::float8 - $2::float8) AND NOT has_lock)) AS is_dead FROM held
    ) seen
    WHERE is_dead OR (lease_until < now() AND id <> ALL($4::text[]::uuid[]))
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
"""  # noqa: S608

# The least suspect first: they are most, and harmless but for one. Then those that started last: what ran for long is hardly the one.
_CLAIM_SUSPECTS = f"""
WITH ready AS (
    SELECT id, attempts, start_time FROM execution
    WHERE status = 'RUNNING' AND worker_id <> '' AND verdict = 'SUSPECT'
        AND ($3 OR lease_until < now() - make_interval(secs => {PATIENCE_S}))
        AND (SELECT count(DISTINCT worker_id) FROM execution WHERE status = 'RUNNING' AND worker_id <> '' AND verdict = 'PROBATION')
            < greatest((SELECT count(*) FROM ({_ALIVE}) workers) - 1, 1)
), least AS (
    SELECT min(attempts) AS attempts, {_GROUP} ^ greatest({_ATTEMPTS_ALONE} - min(attempts), 0) AS together FROM ready
), mine AS (
    SELECT e.id FROM execution e WHERE e.status = 'RUNNING' AND e.worker_id <> '' AND e.verdict = 'SUSPECT'
        AND e.id IN (SELECT id FROM ready WHERE attempts = (SELECT attempts FROM least))
    ORDER BY e.start_time DESC LIMIT least($4::int, (SELECT together FROM least)) FOR UPDATE SKIP LOCKED
)
{GIVE.replace("verdict = ''", "verdict = 'PROBATION'")}, e.losses
"""  # noqa: S608

_ACQUIT = """
UPDATE execution e SET verdict = '' FROM unnest($1::text[], $2::int[]) AS b(id, epoch)
WHERE e.id = b.id::uuid AND e.epoch = b.epoch AND e.verdict = 'PROBATION'
"""


@dataclass(frozen=True, slots=True)
class Probation:
    """Suspects at work, and until when they are (on the monotonic clock)."""

    claims: list[Claim]
    until: float

    @property
    def is_over(self) -> bool:
        """True when they have survived."""
        return time.monotonic() >= self.until

    def left(self, held: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those of its runs that are among the held."""
        ours = {(claim.execution_id, claim.epoch) for claim in self.claims}
        return [pair for pair in held if pair in ours]


class Suspects:
    """Judges what lost workers held, and gives suspects to one worker."""

    def __init__(self, pool: asyncpg.Pool, worker_id: str, lease_s: float) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._lease_s = lease_s

    async def judge(self, held: Iterable[tuple[str, int]]) -> None:
        """Takes the leases of lost workers away, and says how each of their runs may go on. `held` are the runs at work here."""
        grace_s = min(LOCK_GRACE_S, self._lease_s)
        ours = [execution_id for execution_id, _ in held]
        await self._pool.execute(_JUDGE, self._lease_s, grace_s, self._worker_id, ours, timeout=_TIMEOUT_S)

    async def claim(self, limit: int, *, is_idle: bool) -> Probation | None:
        """Claims the suspects whose turn it is, if they may be at work here; `is_idle` says that this worker has nothing to lose."""
        rows = await self._pool.fetch(_CLAIM_SUSPECTS, self._worker_id, self._lease_s, is_idle, limit, timeout=_TIMEOUT_S)
        if not rows:
            return None
        losses = max(row["losses"] for row in rows)
        period_s = min(PROBATION_S * 2.0 ** min(max(losses - SUSPECT_AFTER, 0), 10), _MAX_PROBATION_S)
        return Probation([Claim(*tuple(row)[:-1]) for row in rows], time.monotonic() + period_s)

    async def acquit(self, survivors: Iterable[tuple[str, int]]) -> None:
        """These have survived: they are runs like any other, until their worker is lost."""
        ids, epochs = zip(*survivors, strict=True)
        await self._pool.execute(_ACQUIT, ids, epochs, timeout=_TIMEOUT_S)
