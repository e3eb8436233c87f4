"""Stops executions and all that they started: those that no worker has end here and now, the others are stopped by their workers."""

import asyncio
import time

from services.execution.engine.events import Event, EventKind
from services.execution.history import ENDED
from services.execution.lines import line_of, write_row
from services.execution.notices import Notices
from services.execution.repository.executions import ExecutionRepository, Record
from services.execution.repository.tree import Tree

# A worker stops a run within milliseconds of hearing of it, or with its next heartbeat when the bus lost the message.
WAIT_S = 5.0
_FIRST_POLL_S = 0.01
_LONGEST_POLL_S = 0.25


class Cancellation:
    """Cancels executions."""

    def __init__(self, repository: ExecutionRepository, tree: Tree, notices: Notices) -> None:
        self._repository = repository
        self._tree = tree
        self._notices = notices

    async def cancel(self, record: Record, patience_s: float) -> Record:
        """The execution after it ended, or as it is when that takes longer than WAIT_S or `patience_s`: it ends later then.

        An execution that has ended is returned as it is. Children that are at work may end a moment later.
        """
        until = time.monotonic() + min(WAIT_S, patience_s)
        pause_s = _FIRST_POLL_S
        was_held = False
        while record.status not in ENDED:
            # Asked again when it has parked meanwhile: it ends at once then.
            if not was_held or record.status == "REVIEW":
                was_held = await stop(self._tree, self._notices, [record.id])
            record = await self._repository.get(record.id, record.owner_id) or record
            if record.status in ENDED or time.monotonic() > until:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_POLL_S)
        return record


async def stop(tree: Tree, notices: Notices, execution_ids: list[str]) -> bool:
    """Stops runs with all below them, and tells watchers, workers and parents. True when workers have some of them.

    Database errors pass through; repeating it is safe.
    """
    line = line_of(Event(EventKind.EXECUTION_TERMINATED, time.time_ns() // 1000), -1, 0)
    stopped = await tree.stop(execution_ids, write_row([line]))
    held = [item.execution_id for item in stopped if not item.is_ended]
    for item in stopped:
        if item.is_ended:
            notices.happened(item, item.seq, [line])
    await notices.bell.stop(held)
    children = [item.execution_id for item in stopped if item.is_ended and item.is_child]
    if children:
        await notices.signalled(await tree.tell_parents(children))
    return bool(held)
