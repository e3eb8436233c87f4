"""Leases: which worker runs what, by the database's clock.

A claim is one conditional UPDATE that makes `epoch` one more; whoever claimed before is fenced off by that. A worker that dies leaves
its leases to run out; one that stops hands them back. A run that waits for an answer or a time has no lease: it is claimed when due.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

# Longer than any of these takes: the database does not answer, and the caller tries again.
_TIMEOUT_S = 5.0

_GIVE = """
UPDATE execution e SET
    status = 'RUNNING',
    epoch = e.epoch + 1,
    worker_id = $2,
    lease_until = now() + make_interval(secs => $3),
    wake_time = NULL,
    attempts = e.attempts + 1,
    start_time = coalesce(e.start_time, clock_timestamp())
FROM mine WHERE e.id = mine.id
RETURNING e.id::text, e.owner_id, e.graph_id, e.graph_version, e.inputs, e.input_masks, e.epoch, e.last_seq, e.attempts,
    e.cancel_requested, e.dry_run, extract(epoch FROM e.start_time)::float8 AS start_time_s,
    e.signals, e.parent_id::text, e.parent_firing, e.root_id::text, e.depth, e.retry_of::text, e.timezone
"""

# A row that someone else has locked is being claimed or cancelled: leave it, the sweep comes back.
# A timer's message may come a little before its time by the database's clock; the run waits for the rest by itself.
_CLAIM = f"""
WITH mine AS (
    SELECT id FROM execution
    WHERE id = ANY($1::text[]::uuid[])
        AND (status = 'QUEUED' OR (status = 'RUNNING' AND worker_id <> '' AND lease_until < now()) OR wake_time < now() + interval '0.2 s')
    FOR UPDATE SKIP LOCKED
)
{_GIVE}
"""  # noqa: S608 - composed of constants

_CLAIM_STRANDED = f"""
WITH lost AS (
    SELECT id FROM execution WHERE status = 'RUNNING' AND worker_id <> '' AND lease_until < now()
    ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED
), due AS (
    SELECT id FROM execution WHERE wake_time < now() ORDER BY wake_time LIMIT $1 FOR UPDATE SKIP LOCKED
), forgotten AS (
    SELECT id FROM execution WHERE status = 'QUEUED' AND create_time < now() - make_interval(secs => $4)
    ORDER BY create_time LIMIT $1 FOR UPDATE SKIP LOCKED
), mine AS (
    SELECT id FROM (SELECT id, 0 AS rank FROM lost UNION ALL SELECT id, 1 FROM due UNION ALL SELECT id, 2 FROM forgotten) found
    ORDER BY rank LIMIT $1
)
{_GIVE}
"""  # noqa: S608

# A row that is locked is being committed by our own journal, which renews the lease as well.
_RENEW = """
WITH held AS (
    SELECT e.id FROM execution e
    JOIN unnest($1::text[], $2::int[]) AS b(id, epoch) ON e.id = b.id::uuid AND e.epoch = b.epoch
    WHERE e.status = 'RUNNING' AND e.worker_id <> ''
    FOR UPDATE OF e SKIP LOCKED
)
UPDATE execution e SET lease_until = now() + make_interval(secs => $3)
FROM held WHERE e.id = held.id
RETURNING e.id::text, e.cancel_requested, e.signals
"""

# A run that has ended under our own epoch is not lost: its last commit is just being answered.
_NOT_HELD = """
SELECT b.id FROM unnest($1::text[], $2::int[]) AS b(id, epoch)
LEFT JOIN execution e ON e.id = b.id::uuid AND e.epoch = b.epoch
WHERE e.id IS NULL
"""

_RELEASE = """
WITH held AS (
    SELECT e.id FROM execution e
    JOIN unnest($1::text[], $2::int[]) AS b(id, epoch) ON e.id = b.id::uuid AND e.epoch = b.epoch
    WHERE e.status = 'RUNNING' AND e.worker_id <> ''
    ORDER BY e.id FOR UPDATE OF e
)
UPDATE execution e SET lease_until = now() - interval '1 microsecond', attempts = greatest(e.attempts - 1, 0)
FROM held WHERE e.id = held.id
RETURNING e.id::text
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this worker may go on with. `attempts` counts claims, this one included, since a firing last ended.

    `signals` counts the answers that have come so far. `parent_id` is None for runs that nobody started as a child, `root_id` then too.
    """

    execution_id: str
    owner_id: str
    graph_id: str
    graph_version: int
    inputs: str
    input_masks: str
    epoch: int
    last_seq: int
    attempts: int
    cancel_requested: bool
    dry_run: bool
    start_time_s: float
    signals: int = 0
    parent_id: str | None = None
    parent_firing: int = 0
    root_id: str | None = None
    depth: int = 0
    retry_of: str | None = None
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a heartbeat found: runs that a caller wants stopped, runs that are no longer ours, and how many answers each run has got."""

    cancelled: frozenset[str]
    lost: frozenset[str]
    signals: Mapping[str, int]


class Leases:
    """The leases of one worker. `worker_id` only tells people who holds what; the fence is the epoch."""

    def __init__(self, pool: asyncpg.Pool, worker_id: str, lease_s: float) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._lease_s = lease_s

    async def claim(self, execution_ids: Sequence[str]) -> list[Claim]:
        """Claims those of the given executions that wait or have lost their worker."""
        rows = await self._pool.fetch(_CLAIM, list(execution_ids), self._worker_id, self._lease_s, timeout=_TIMEOUT_S)
        return [Claim(*row) for row in rows]

    async def claim_stranded(self, limit: int, queued_for_s: float) -> list[Claim]:
        """Claims executions whose lease ran out, then parked ones that are due, then those queued longer than `queued_for_s`."""
        rows = await self._pool.fetch(_CLAIM_STRANDED, limit, self._worker_id, self._lease_s, queued_for_s, timeout=_TIMEOUT_S)
        return [Claim(*row) for row in rows]

    async def renew(self, held: Iterable[tuple[str, int]]) -> Renewal:
        """Renews leases given as (execution id, epoch), in one statement."""
        ids, epochs = _columns(held)
        rows = await self._pool.fetch(_RENEW, ids, epochs, self._lease_s, timeout=_TIMEOUT_S)
        renewed = {row[0] for row in rows}
        unsure = [pair for pair in zip(ids, epochs, strict=True) if pair[0] not in renewed]
        lost = await self._pool.fetch(_NOT_HELD, *_columns(unsure), timeout=_TIMEOUT_S) if unsure else ()
        cancelled = frozenset(row[0] for row in rows if row[1])
        return Renewal(cancelled, frozenset(row[0] for row in lost), {row[0]: row[2] for row in rows})

    async def release(self, held: Iterable[tuple[str, int]]) -> list[str]:
        """Gives leases back, so that another worker may claim at once. Returns the executions released."""
        rows = await self._pool.fetch(_RELEASE, *_columns(held), timeout=_TIMEOUT_S)
        return [row[0] for row in rows]


def _columns(held: Iterable[tuple[str, int]]) -> tuple[list[str], list[int]]:
    pairs = sorted(held)
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
