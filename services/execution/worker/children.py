"""Starts executions of nested agents: each for one wait of one firing of its parent, once, within the limits of the tree."""

import asyncio
import time
from contextlib import suppress
from typing import Any

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
from services.execution.repository.children import ChildRows, NewChild
from services.execution.repository.leases import Claim
from services.execution.snapshot_ids import embedded_id
from services.execution.snapshots import Snapshots

_RETRY_S = 0.25
_PROBLEMS_TOLD = 5


class Children:
    """Starts child executions for the runs of one worker."""

    def __init__(self, rows: ChildRows, snapshots: Snapshots, notices: Notices, settings: Settings) -> None:
        self._rows = rows
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
        graph_id, graph_version = await self._find(claim, child)
        inputs, masks = await self._checked(graph_id, graph_version, child)
        line = line_of(Event(EventKind.EXECUTION_QUEUED, time.time_ns() // 1000), -1, 0)
        first = write_row([line])
        new = NewChild(uuid7(), request_id, graph_id, graph_version, inputs, masks, firing.index, firing.waits, first, retry_of)
        made = await self._rows.add(claim, new, self._max_executions)
        if made is not None:
            await self._notices.made(made, claim.owner_id, graph_id, line)
            return made
        before = await self._rows.find(claim, request_id)
        if before is None:
            if not await self._rows.may_add(claim):
                return None
            raise BlockError(f"agents ran each other more than {self._max_executions} times in one execution", kind="AgentCountError")
        return before

    async def _find(self, claim: Claim, child: Child) -> tuple[str, int]:
        inside = embedded_id(*claim.snapshot, child.graph_id)
        version = child.graph_version or jsontext.loads(claim.agents).get(child.graph_id, 0)
        found = await self._rows.find_graph(claim, inside, child.graph_id, child.graph_version, version)
        if found is None:
            told = f" in version {child.graph_version}" if child.graph_version else ""
            raise BlockError(f"there is no agent {child.graph_id}{told}", kind="AgentNotFoundError")
        return found

    async def _checked(self, graph_id: str, graph_version: int, child: Child) -> tuple[str, str]:
        """Inputs and masks as JSON text, when the agent can run with them."""
        try:
            plan = (await self._snapshots.get(graph_id, graph_version)).plan
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
