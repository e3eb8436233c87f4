"""Judges what lost workers held: it is taken from them, and each run gets its verdict.

- The first time it may go on with anyone (LOST). After a second loss without a firing ended between it is a SUSPECT (`suspects.py`). At an
  ordinary worker's loss no more than that is known: there attempts never count beyond the second.
- What a cell held that died alone counts fully. What a cell held that was lost with its parent counts as not started.
- A judge never judges its own worker: it lives. What that lost sight of (the answer to a claim never came) goes on without blame.
"""

import time
from collections.abc import Iterable

import asyncpg

from mesh.logs import get_logger
from services.execution.worker.leases import GIVE_BACK, SUSPECT_AFTER, Leases
from services.execution.worker.liveness import has_lock
from services.execution.worker.looks import PARENT_OF, Looks, Lost, Seen

_log = get_logger("execution.judge")

_TIMEOUT_S = 5.0

_IS_HELD = "status = 'RUNNING' AND worker_id <> '' AND verdict = ''"

_LOOK = f"""
SELECT worker_id, renewed_until, is_astray, {has_lock("worker_id")}, {has_lock(PARENT_OF.format("worker_id"))} FROM (
    SELECT worker_id, max(lease_until) AS renewed_until, bool_or(lease_until < now()) AS is_astray
    FROM execution WHERE {_IS_HELD} GROUP BY worker_id
) held
"""  # noqa: S608 - composed of constants

# The fence: a worker that has renewed a lease meanwhile, or whose lock is not as it was seen, is left alone.
_JUDGE = f"""
WITH seen AS MATERIALIZED (
    SELECT s.* FROM unnest($1::text[], $2::timestamptz[], $3::bool[], $4::bool[], $5::bool[], $6::bool[])
        AS s(worker_id, renewed_until, has_lock, has_parent, is_cell, is_blamed)
    WHERE s.has_lock = {has_lock("s.worker_id")} AND s.has_parent = {has_lock(PARENT_OF.format("s.worker_id"))}
        AND s.renewed_until = (SELECT max(lease_until) FROM execution e WHERE e.worker_id = s.worker_id AND {_IS_HELD})
), lost AS (
    SELECT e.id, s.is_cell, s.is_blamed FROM seen s JOIN execution e ON e.worker_id = s.worker_id
    WHERE e.status = 'RUNNING' AND e.worker_id <> '' AND e.verdict = '' AND e.lease_until <= s.renewed_until
    FOR UPDATE OF e SKIP LOCKED
), blamed AS (
    UPDATE execution e SET
        epoch = e.epoch + 1,
        losses = CASE WHEN e.attempts > 1 THEN e.losses + 1 ELSE 1 END,
        lease_until = now() - interval '1 microsecond',
        attempts = CASE WHEN is_cell THEN e.attempts ELSE least(e.attempts, {SUSPECT_AFTER}) END,
        verdict = CASE WHEN e.attempts >= {SUSPECT_AFTER} THEN 'SUSPECT' ELSE 'LOST' END
    FROM lost WHERE e.id = lost.id AND is_blamed
    RETURNING e.worker_id, e.verdict
), others AS (
    UPDATE execution e SET
        epoch = e.epoch + 1,
        losses = CASE WHEN e.attempts > 1 THEN e.losses + 1 ELSE 1 END,
        {GIVE_BACK}
    FROM lost WHERE e.id = lost.id AND NOT is_blamed
    RETURNING e.worker_id, e.verdict
)
SELECT worker_id, verdict, count(*) FROM (SELECT * FROM blamed UNION ALL SELECT * FROM others) judged GROUP BY worker_id, verdict
"""  # noqa: S608


class Judge:
    """The judge of one worker."""

    def __init__(self, pool: asyncpg.Pool, leases: Leases, worker_id: str, *, lease_s: float, sweep_s: float) -> None:
        self._pool = pool
        self._leases = leases
        self._worker_id = worker_id
        self._looks = Looks(worker_id, lease_s, sweep_s)

    async def judge(self, held: Iterable[str]) -> None:
        """Looks once at all workers that hold runs, and judges what those held that are lost. `held` are the runs at work here.

        Call it each `sweep_s`. Raises database errors.
        """
        asked = time.monotonic()
        try:
            rows = await self._pool.fetch(_LOOK, timeout=_TIMEOUT_S)
        except BaseException:
            self._looks.interrupt()
            raise
        answered = time.monotonic()
        others: list[Seen] = []
        for worker_id, renewed_until, is_astray, *locks in rows:
            if worker_id != self._worker_id:
                others.append(Seen(worker_id, renewed_until, *locks))
            elif is_astray:
                await self._leases.take_back(self._worker_id, held)
        lost = self._looks.add(asked, answered, others)
        if lost:
            await self._take(lost)

    async def _take(self, lost: list[Lost]) -> None:
        seen = [item.seen for item in lost]
        columns = (
            [each.worker_id for each in seen],
            [each.renewed_until for each in seen],
            [each.has_lock for each in seen],
            [each.has_parent for each in seen],
            [each.is_cell for each in seen],
            [item.is_blamed for item in lost],
        )
        for worker_id, verdict, count in await self._pool.fetch(_JUDGE, *columns, timeout=_TIMEOUT_S):
            _log.warning("worker_lost", worker_id=worker_id, verdict=verdict, executions=count)
