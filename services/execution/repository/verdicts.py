"""What judges see of workers, and the statement by which they take from lost ones what these held. `worker/judge.py` has the rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from services.execution.repository.leases import GIVE_BACK, SUSPECT_AFTER
from services.execution.repository.locks import PARENT_OF, has_lock
from services.execution.worker_ids import is_cell, parent_of

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


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker that holds runs: when its newest lease ends, whether its lock is held, and its parent's (its own if it has none)."""

    worker_id: str
    renewed_until: datetime
    has_lock: bool
    has_parent: bool

    @property
    def is_cell(self) -> bool:
        """True for a child of a worker."""
        return is_cell(self.worker_id)

    def is_cell_of(self, worker_id: str) -> bool:
        """True for a child of this worker."""
        return self.is_cell and parent_of(self.worker_id) == worker_id


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker that is lost. `is_blamed` says that this counts against each of its runs."""

    seen: Seen
    is_blamed: bool


class Verdicts:
    """Looks at workers, and takes from lost ones."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def look(self) -> list[tuple[Seen, bool]]:
        """All workers that hold runs, each with whether a lease of it has run out."""
        rows = await self._pool.fetch(_LOOK, timeout=_TIMEOUT_S)
        return [(Seen(row[0], row[1], row[3], row[4]), row[2]) for row in rows]

    async def take(self, lost: Sequence[Lost]) -> list[tuple[str, str, int]]:
        """Takes away what lost workers hold, unless one has changed since it was seen. Returns worker, verdict and number of runs."""
        seen = [item.seen for item in lost]
        columns = (
            [each.worker_id for each in seen],
            [each.renewed_until for each in seen],
            [each.has_lock for each in seen],
            [each.has_parent for each in seen],
            [each.is_cell for each in seen],
            [item.is_blamed for item in lost],
        )
        return [(row[0], row[1], row[2]) for row in await self._pool.fetch(_JUDGE, *columns, timeout=_TIMEOUT_S)]
