"""Starts executions of nested agents: each for one wait of one firing of its parent, once, within the limits of the tree."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from mesh import jsontext
from mesh.errors import TreadleError
from mesh.ids import uuid7
from mesh.settings import Settings
from services.block.sdk import BlockError, Child
from services.execution.engine.checks import problems
from services.execution.engine.events import Event, EventKind
from services.execution.engine.state import Firing
from services.execution.errors import DATABASE_AWAY
from services.execution.lines import line_of, write_row
from services.execution.notices import Notices
from services.execution.snapshot_ids import embedded_id
from services.execution.snapshots import Snapshots
from services.execution.worker.leases import Claim

_TIMEOUT_S = 5.0
_RETRY_S = 0.25
_PROBLEMS_TOLD = 5

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
class _Agent:
    graph_id: str
    graph_version: int


class Children:
    """Starts child executions for the runs of one worker."""

    def __init__(self, pool: asyncpg.Pool, snapshots: Snapshots, notices: Notices, settings: Settings) -> None:
        self._pool = pool
        self._snapshots = snapshots
        self._notices = notices
        self._max_executions = settings.max_tree_executions
        self._max_depth = settings.max_depth

    async def start(self, claim: Claim, firing: Firing, child: Child, *, retry_of: str | None = None) -> str:
        """Starts an execution for the firing's present wait, once however often it is called. Returns its id. `retry_of` is the child of
        the same firing in the run that this one goes on from: what that completed is taken over.

        Waits for the database, and for its own end when the run is not to go on. Raises BlockError when the agent is not there, its
        inputs do not fit, or the tree is too deep or too large.
        """
        if claim.depth >= self._max_depth:
            raise BlockError(f"agents run each other more than {self._max_depth} deep", kind="AgentDepthError")
        while True:
            with suppress(*DATABASE_AWAY):
                started = await self._start(claim, firing, child, retry_of)
                if started is not None:
                    return started
            await asyncio.sleep(_RETRY_S)

    async def _start(self, claim: Claim, firing: Firing, child: Child, retry_of: str | None) -> str | None:
        """None when the run is not ours any more, or somebody wants it stopped: the run will hear of it."""
        # Longer than any request_id of a caller, so never the same as one.
        request_id = f"{firing.id}/{firing.waits}"
        agent = await self._find(claim, child)
        inputs, masks = await self._checked(agent, child)
        line = line_of(Event(EventKind.EXECUTION_QUEUED, time.time_ns() // 1000), -1, 0)
        made = await self._pool.fetchval(
            _START,
            uuid7(),
            claim.execution_id,
            claim.epoch,
            claim.root_id or claim.execution_id,
            self._max_executions,
            claim.owner_id,
            request_id,
            agent.graph_id,
            agent.graph_version,
            inputs,
            masks,
            claim.dry_run,
            claim.timezone,
            firing.index,
            firing.waits,
            claim.depth + 1,
            write_row([line]),
            claim.agents,
            retry_of,
            claim.retry_of,
            timeout=_TIMEOUT_S,
        )
        if made is not None:
            await self._notices.made(str(made), claim.owner_id, agent.graph_id, line)
            return str(made)
        before = await self._pool.fetchval(_STARTED, claim.owner_id, request_id, claim.execution_id, timeout=_TIMEOUT_S)
        if before is None:
            if not await self._pool.fetchval(_MAY_START, claim.execution_id, claim.epoch, timeout=_TIMEOUT_S):
                return None
            raise BlockError(f"agents ran each other more than {self._max_executions} times in one execution", kind="AgentCountError")
        return str(before)

    async def _find(self, claim: Claim, child: Child) -> _Agent:
        inside = embedded_id(*claim.snapshot, child.graph_id)
        version = child.graph_version or jsontext.loads(claim.agents).get(child.graph_id, 0)
        query = _FIND_GRAPH, claim.owner_id, inside, child.graph_id, child.graph_version, version
        row = await self._pool.fetchrow(*query, timeout=_TIMEOUT_S)
        if row is None:
            version = f" in version {child.graph_version}" if child.graph_version else ""
            raise BlockError(f"there is no agent {child.graph_id}{version}", kind="AgentNotFoundError")
        return _Agent(row[0], row[1])

    async def _checked(self, agent: _Agent, child: Child) -> tuple[str, str]:
        """Inputs and masks as JSON text, when the agent can run with them."""
        try:
            plan = (await self._snapshots.get(agent.graph_id, agent.graph_version)).plan
            texts = _text(child.inputs), _text(child.input_masks)
        except TreadleError as error:
            raise BlockError(f"the agent cannot run: {error.message}", kind="AgentInvalidError") from error
        except (TypeError, ValueError) as error:
            raise BlockError("the agent's inputs cannot be written as JSON", kind="AgentInvalidError") from error
        found = problems(plan, child.inputs, child.input_masks)
        if found:
            told = "; ".join(f"{item.node_id} {item.field}: {item.message}".strip() for item in found[:_PROBLEMS_TOLD])
            raise BlockError(f"the agent cannot run: {told}", kind="AgentInvalidError")
        return texts


def _text(value: Any) -> str:
    return jsontext.dumps(dict(value))
