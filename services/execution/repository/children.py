"""Rows of child executions: each made once for one wait of a firing, by the holder of the parent's lease, within the limit of the tree."""

from dataclasses import dataclass
from typing import Any

import asyncpg

from services.execution.repository.leases import Claim

_TIMEOUT_S = 5.0

# Embedded in the agent at the top, or the owner's own in the version that was active when the root was created. Only an agent that was
# chosen by a value is in none: then 0 is whatever version was made ready last.
_FIND_GRAPH = """
SELECT graph_id, graph_version FROM graph_snapshot
WHERE owner_id = $1 AND ((graph_id = $2 AND ($4 = 0 OR graph_version = $4)) OR (graph_id = $3 AND ($5 = 0 OR graph_version = $5)))
ORDER BY graph_id = $2 DESC, graph_version DESC LIMIT 1
"""

# Only for the holder of the parent's lease, and within the limit of the tree, which the row of its root counts.
_START = """
WITH parent AS (
    SELECT id FROM execution WHERE id = $2 AND epoch = $3 AND status = 'RUNNING' AND worker_id <> '' AND NOT cancel_requested
), root AS (
    UPDATE execution e SET tree_count = e.tree_count + 1 FROM parent
    WHERE e.id = $4 AND e.tree_count < $5 AND NOT EXISTS (SELECT 1 FROM execution WHERE owner_id = $6 AND request_id = $7)
    RETURNING e.id
), made AS (
    INSERT INTO execution (id, owner_id, graph_id, graph_version, status, inputs, input_masks, last_seq, request_id, dry_run, timezone,
                           parent_id, parent_firing, parent_wait, root_id, depth, agents,
                           retry_of)
    SELECT $1, $6, $8, $9, 'QUEUED', $10, $11, 1, $7, $12, $13, $2, $14, $15, root.id, $16, $18,
        (SELECT id FROM execution WHERE id = $19 AND parent_id = $20 AND graph_id = $8 AND graph_version = $9 AND end_time IS NOT NULL)
    FROM root
    ON CONFLICT (owner_id, request_id) DO NOTHING
    RETURNING id
), journal AS (
    INSERT INTO execution_event (execution_id, seq, count, events) SELECT id, 1, 1, $17 FROM made
)
SELECT id::text FROM made
"""

# Refused for another reason than the limit: the run is another worker's by now, or is to be stopped.
_MAY_START = "SELECT count(*) = 1 FROM execution WHERE id = $1 AND epoch = $2 AND status = 'RUNNING' AND NOT cancel_requested"

_STARTED = "SELECT id::text FROM execution WHERE owner_id = $1 AND request_id = $2 AND parent_id = $3"


@dataclass(frozen=True, slots=True)
class NewChild:
    """A child for wait number `wait` of the firing with this index, as JSON text `inputs`, `input_masks` and `first`, its journal's first
    row. `request_id` is its own among all of its owner's; `retry_of` is the child that it goes on from.
    """

    id: str
    request_id: str
    graph_id: str
    graph_version: int
    inputs: str
    input_masks: str
    firing: int
    wait: int
    first: str
    retry_of: str | None


class ChildRows:
    """Statements about children; `parent` is always the claim under which the parent runs."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def find_graph(self, parent: Claim, embedded_id: str, graph_id: str, version: int, active: int) -> tuple[str, int] | None:
        """The graph to run, as id and version: `embedded_id` in `version`, else `graph_id` in the `active` one. 0 is any version; None says
        that it is not there.
        """
        row = await self._pool.fetchrow(_FIND_GRAPH, parent.owner_id, embedded_id, graph_id, version, active, timeout=_TIMEOUT_S)
        return None if row is None else (row[0], row[1])

    async def add(self, parent: Claim, child: NewChild, max_executions: int) -> str | None:
        """Makes the child and returns its id; None when it is there already, the parent is not ours or stopped, or the tree is full."""
        made: str | None = await self._pool.fetchval(
            _START,
            child.id,
            parent.execution_id,
            parent.epoch,
            parent.root_id or parent.execution_id,
            max_executions,
            parent.owner_id,
            child.request_id,
            child.graph_id,
            child.graph_version,
            child.inputs,
            child.input_masks,
            parent.dry_run,
            parent.timezone,
            child.firing,
            child.wait,
            parent.depth + 1,
            child.first,
            parent.agents,
            child.retry_of,
            parent.retry_of,
            timeout=_TIMEOUT_S,
        )
        return made

    async def find(self, parent: Claim, request_id: str) -> str | None:
        """The id of the child that was made with this request id."""
        found: str | None = await self._pool.fetchval(_STARTED, parent.owner_id, request_id, parent.execution_id, timeout=_TIMEOUT_S)
        return found

    async def may_add(self, parent: Claim) -> bool:
        """False when the parent is another worker's by now, or is to be stopped."""
        return bool(await self._pool.fetchval(_MAY_START, parent.execution_id, parent.epoch, timeout=_TIMEOUT_S))
