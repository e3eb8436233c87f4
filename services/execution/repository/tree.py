"""Runs and the runs they started: stopping a whole tree, and telling a parent how its child ended."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from mesh import jsontext
from services.execution.repository.signals import Signal, Signals, Woken

_TIMEOUT_S = 5.0

# Of those at work, these are no worker's any more: it was lost, or has given them back.
_IS_HELD = "status = 'RUNNING' AND worker_id <> '' AND verdict NOT IN ('LOST', 'SUSPECT')"

# A run that no worker has ends here and now; its new epoch fences off a claim that races with this. The others get the wish.
_STOP = f"""
WITH RECURSIVE tree AS (
    SELECT id FROM execution WHERE id = ANY($1::text[]::uuid[]) AND end_time IS NULL
    UNION
    SELECT e.id FROM tree t JOIN execution e ON e.parent_id = t.id WHERE e.parent_id IS NOT NULL AND e.end_time IS NULL
), locked AS (
    SELECT id, {_IS_HELD} AS is_held FROM execution
    WHERE id IN (SELECT id FROM tree) AND status IN ('QUEUED', 'RUNNING', 'REVIEW') ORDER BY id FOR UPDATE
), ended AS (
    UPDATE execution e SET status = 'TERMINATED', outcome = 'TERMINATED', cancel_requested = true, epoch = e.epoch + 1,
        last_seq = e.last_seq + 1, wake_time = NULL, verdict = '', end_time = clock_timestamp()
    FROM locked l WHERE e.id = l.id AND NOT l.is_held
    RETURNING e.id, e.owner_id, e.graph_id, e.last_seq, e.parent_id
), asked AS (
    UPDATE execution e SET cancel_requested = true
    FROM locked l WHERE e.id = l.id AND l.is_held
    RETURNING e.id, e.owner_id, e.graph_id, e.last_seq, e.parent_id
), journal AS (
    INSERT INTO execution_event (execution_id, seq, count, events) SELECT id, last_seq, 1, $2 FROM ended
)
SELECT id::text, owner_id, graph_id, last_seq, parent_id IS NOT NULL, true FROM ended
UNION ALL
SELECT id::text, owner_id, graph_id, last_seq, parent_id IS NOT NULL, false FROM asked
"""  # noqa: S608 - composed of constants

_OPEN_CHILDREN = "SELECT id::text FROM execution WHERE parent_id = ANY($1::text[]::uuid[]) AND parent_id IS NOT NULL AND end_time IS NULL"

_LEFT = """
(SELECT c.id::text FROM execution c JOIN execution p ON p.id = c.parent_id
WHERE c.parent_id IS NOT NULL AND c.end_time IS NULL AND NOT c.cancel_requested AND p.end_time IS NOT NULL
LIMIT 1000)
UNION ALL
(SELECT id::text FROM execution WHERE status = 'RUNNING' AND verdict IN ('LOST', 'SUSPECT') AND cancel_requested LIMIT 1000)
"""

_UNTOLD_COLUMNS = """id::text, parent_id::text, parent_firing, parent_wait, status, outcome, error, outputs, stats, answer
FROM execution WHERE parent_id IS NOT NULL AND end_time IS NOT NULL AND NOT parent_told"""

_UNTOLD = f"SELECT {_UNTOLD_COLUMNS} AND id = ANY($1::text[]::uuid[])"
_ALL_UNTOLD = f"SELECT {_UNTOLD_COLUMNS} LIMIT 200"

_TOLD = "UPDATE execution SET parent_told = true WHERE id = ANY($1::text[]::uuid[])"


@dataclass(frozen=True, slots=True)
class Stopped:
    """A run that was not at work and has ended by its event `seq`, or one that its worker is asked to end (`is_ended` is false)."""

    execution_id: str
    owner_id: str
    graph_id: str
    seq: int
    is_child: bool
    is_ended: bool


class Tree:
    """Statements about runs and their children; database errors pass through."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._signals = Signals(pool)

    async def stop(self, execution_ids: Sequence[str], event: str) -> list[Stopped]:
        """Stops runs and all below them: those that no worker has end with the terminal event (a journal row's text), the others are
        asked to.

        Runs that have ended are left as they are, and so is all below them. One statement.
        """
        rows = await self._pool.fetch(_STOP, list(execution_ids), event, timeout=_TIMEOUT_S)
        return [Stopped(*row) for row in rows]

    async def open_children(self, execution_ids: Sequence[str]) -> list[str]:
        """The children of these runs that have not ended."""
        return [row[0] for row in await self._pool.fetch(_OPEN_CHILDREN, list(execution_ids), timeout=_TIMEOUT_S)]

    async def left_to_stop(self) -> list[str]:
        """Some runs that somebody has to stop: nobody has asked them to, but their parent has ended without them; or they were asked to,
        and their worker was lost meanwhile.
        """
        return [row[0] for row in await self._pool.fetch(_LEFT, timeout=_TIMEOUT_S)]

    async def tell_parents(self, execution_ids: Sequence[str] | None = None) -> Woken:
        """Tells the parents of ended runs, or of some of all that are untold, how they ended. Idempotent; several statements.

        Whoever is cut off in between leaves the parent untold, or told twice, of which the second time changes nothing.
        """
        if execution_ids is None:
            rows = await self._pool.fetch(_ALL_UNTOLD, timeout=_TIMEOUT_S)
        else:
            rows = await self._pool.fetch(_UNTOLD, list(execution_ids), timeout=_TIMEOUT_S)
        if not rows:
            return Woken((), ())
        answers = [(row["parent_id"], Signal(row["parent_firing"], row["parent_wait"], row["answer"] or _answer(row))) for row in rows]
        woken = await self._signals.send(answers)
        await self._pool.execute(_TOLD, [row["id"] for row in rows], timeout=_TIMEOUT_S)
        return woken


def _answer(row: Any) -> str:
    """What a run that no worker ended has to say: what its row knows."""
    outputs: dict[str, list[Any]] = jsontext.loads(row["outputs"])
    return jsontext.dumps(
        {
            "execution_id": row["id"],
            "status": row["status"],
            "outcome": row["outcome"],
            "error": row["error"],
            "outputs": [[name, value] for name, values in outputs.items() for value in values],
            "node_count": json.loads(row["stats"]).get("node_count", 0),
        }
    )
