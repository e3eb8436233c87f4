"""Answers to firings that wait: reviews decided, child runs ended. Written by whoever knows, read by the worker that has the run."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

_TIMEOUT_S = 5.0

# One snapshot: `signals` counts exactly the answers that this statement could see.
_PENDING = """
SELECT e.signals, e.cancel_requested, s.firing, s.wait, s.answer
FROM execution e
LEFT JOIN (
    SELECT s.firing, s.wait, s.answer FROM unnest($2::int[], $3::int[]) AS w(firing, wait)
    JOIN execution_signal s ON s.execution_id = $1 AND s.firing = w.firing AND s.wait = w.wait
) s ON true
WHERE e.id = $1
ORDER BY s.firing, s.wait
"""

# The row is locked before it is decided whether the run is parked: it cannot park in between. The first answer wins.
_SEND = """
WITH target AS (
    SELECT e.id FROM execution e
    WHERE e.id = ANY($1::text[]::uuid[]) AND e.status IN ('RUNNING', 'REVIEW')
    ORDER BY e.id FOR UPDATE
), came AS (
    INSERT INTO execution_signal (execution_id, firing, wait, answer)
    SELECT t.id, s.firing, s.wait, s.answer
    FROM unnest($1::text[], $2::int[], $3::int[], $4::text[]) AS s(id, firing, wait, answer)
    JOIN target t ON t.id = s.id::uuid
    ON CONFLICT DO NOTHING
    RETURNING execution_id
), counted AS (
    SELECT execution_id, count(*)::int AS fresh FROM came GROUP BY execution_id
)
UPDATE execution e SET
    signals = e.signals + c.fresh,
    wake_time = CASE WHEN e.worker_id = '' THEN now() ELSE e.wake_time END
FROM counted c WHERE e.id = c.execution_id
RETURNING e.id::text, e.worker_id = ''
"""


@dataclass(frozen=True, slots=True)
class Signal:
    """The answer (JSON text) to wait number `wait`, from 0, of the firing with this index."""

    firing: int
    wait: int
    answer: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Answers that are there, `signals_seen`, how many had come for the run in all when they were read, and whether it was cancelled by
    then: a cancelled child answers only after that was noted.
    """

    signals_seen: int
    is_cancelled: bool
    signals: Sequence[Signal]


@dataclass(frozen=True, slots=True)
class Woken:
    """Runs that got an answer: those that are parked and need a worker, and those that a worker has."""

    parked: Sequence[str]
    held: Sequence[str]


class Signals:
    """Reads and writes answers. Each method is one statement; database errors pass through."""

    def __init__(self, pool: "asyncpg.Pool | asyncpg.pool.PoolConnectionProxy") -> None:
        """On a pool, or on a connection with a transaction of the caller's."""
        self._pool = pool

    async def pending(self, execution_id: str, waits: Sequence[tuple[int, int]]) -> Pending:
        """The answers to those of the waits, given as (firing index, wait number), that have one."""
        firings, numbers = [firing for firing, _ in waits], [number for _, number in waits]
        rows = await self._pool.fetch(_PENDING, execution_id, firings, numbers, timeout=_TIMEOUT_S)
        found = [Signal(row[2], row[3], row[4]) for row in rows if row[2] is not None]
        return Pending(rows[0][0], rows[0][1], found) if rows else Pending(0, False, found)

    async def send(self, answers: Sequence[tuple[str, Signal]]) -> Woken:
        """Writes answers, given with the execution's id. Idempotent; those for runs that have ended, and second ones, change nothing.

        Returns the runs for which something is new; tell the bus of them (`Notices.signalled`).
        """
        ids = [execution_id for execution_id, _ in answers]
        signals = [signal for _, signal in answers]
        columns = [signal.firing for signal in signals], [signal.wait for signal in signals], [signal.answer for signal in signals]
        rows = await self._pool.fetch(_SEND, ids, *columns, timeout=_TIMEOUT_S)
        return Woken([row[0] for row in rows if row[1]], [row[0] for row in rows if not row[1]])
