"""Leases: which worker runs what, by the database's clock.

A worker that dies leaves its leases to run out; one that stops hands them back. A run that waits for an answer or a time has no lease.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg

from services.execution.snapshot_ids import draft_id

# Longer than any of these takes: the database does not answer, and the caller tries again.
_TIMEOUT_S = 5.0

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
RETURNING e.id::text, e.cancel_requested, e.signals > 0
"""

# A run that has ended under our own epoch is not lost: its last commit is just being answered.
_NOT_HELD = """
SELECT b.id FROM unnest($1::text[], $2::int[]) AS b(id, epoch)
LEFT JOIN execution e ON e.id = b.id::uuid AND e.epoch = b.epoch
WHERE e.id IS NULL
"""

# Losses in a row, without a firing ended between, that make a suspect.
SUSPECT_AFTER = 2

# A start that was cut short through no fault of the run is none. What has no start left that ended badly may go on with anyone.
GIVE_BACK = f"""
    lease_until = now() - interval '1 microsecond',
    attempts = greatest(e.attempts - 1, 0),
    verdict = CASE WHEN e.attempts > {SUSPECT_AFTER} THEN 'SUSPECT' ELSE 'LOST' END
"""

_RELEASE = f"""
WITH held AS (
    SELECT e.id FROM execution e
    JOIN unnest($1::text[], $2::int[]) AS b(id, epoch) ON e.id = b.id::uuid AND e.epoch = b.epoch
    WHERE e.status = 'RUNNING' AND e.worker_id <> ''
    ORDER BY e.id FOR UPDATE OF e
)
UPDATE execution e SET {GIVE_BACK}
FROM held WHERE e.id = held.id
RETURNING e.id::text
"""  # noqa: S608 - composed of constants

_TAKE_BACK = f"""
WITH astray AS (
    SELECT id FROM execution
    WHERE status = 'RUNNING' AND worker_id = $1 AND verdict = '' AND (lease_until < now() OR $3) AND id <> ALL($2::text[]::uuid[])
    ORDER BY id FOR UPDATE
)
UPDATE execution e SET epoch = e.epoch + 1, {GIVE_BACK}
FROM astray WHERE e.id = astray.id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this worker may go on with. `attempts` counts claims, this one included, since a firing last ended.

    `signals` counts the answers that have come so far. `parent_id` is None for runs that nobody started as a child, `root_id` then too.
    `agents` (JSON text) says which versions of agents stand for version 0. `losses` counts the workers that were lost with it, for whatever
    reason, since a firing last ended.
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
    agents: str = "{}"
    graph_revision: str = ""
    losses: int = 0

    @property
    def snapshot(self) -> tuple[str, int]:
        """The id and version under which the graph that it runs is kept."""
        return draft_id(self.graph_id, self.graph_revision), self.graph_version


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a heartbeat found: runs that a caller wants stopped, runs that are no longer ours, and runs that have got answers."""

    cancelled: frozenset[str]
    lost: frozenset[str]
    signalled: frozenset[str]


class Leases:
    """The leases of one worker. The fence is the epoch."""

    def __init__(self, pool: asyncpg.Pool, lease_s: float) -> None:
        self._pool = pool
        self._lease_s = lease_s

    async def renew(self, held: Iterable[tuple[str, int]]) -> Renewal:
        """Renews leases given as (execution id, epoch), in one statement."""
        ids, epochs = _columns(held)
        rows = await self._pool.fetch(_RENEW, ids, epochs, self._lease_s, timeout=_TIMEOUT_S)
        renewed = {row[0] for row in rows}
        unsure = [pair for pair in zip(ids, epochs, strict=True) if pair[0] not in renewed]
        lost = await self._pool.fetch(_NOT_HELD, *_columns(unsure), timeout=_TIMEOUT_S) if unsure else ()
        cancelled = frozenset(row[0] for row in rows if row[1])
        return Renewal(cancelled, frozenset(row[0] for row in lost), frozenset(row[0] for row in rows if row[2]))

    async def release(self, held: Iterable[tuple[str, int]]) -> list[str]:
        """Gives leases back, so that another worker may claim at once. Returns the executions released."""
        rows = await self._pool.fetch(_RELEASE, *_columns(held), timeout=_TIMEOUT_S)
        return [row[0] for row in rows]

    async def take_back(self, worker_id: str, held: Iterable[str] = (), *, is_over: bool = False) -> None:
        """Gives back what is the worker's by the database and not among the runs that it holds: the answer to a claim never came. Only what
        nobody renews any more, unless the worker's time `is_over`.
        """
        await self._pool.execute(_TAKE_BACK, worker_id, list(held), is_over, timeout=_TIMEOUT_S)


def _columns(held: Iterable[tuple[str, int]]) -> tuple[list[str], list[int]]:
    pairs = sorted(held)
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
