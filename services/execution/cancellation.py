"""Stops executions: one that no worker has ends here and now, one at work is stopped by its worker."""

import asyncio
import time

from services.execution.engine.events import Event, EventKind
from services.execution.history import ENDED
from services.execution.lines import line_of, write_row
from services.execution.notices import Notices
from services.execution.repository import ExecutionRepository, Record

# A worker stops a run within milliseconds of hearing of it, or with its next heartbeat when the bus lost the message.
WAIT_S = 5.0
_FIRST_POLL_S = 0.01
_LONGEST_POLL_S = 0.25


class Cancellation:
    """Cancels executions."""

    def __init__(self, repository: ExecutionRepository, notices: Notices) -> None:
        self._repository = repository
        self._notices = notices

    async def cancel(self, record: Record, patience_s: float) -> Record:
        """The execution after it ended, or as it is when that takes longer than WAIT_S or `patience_s`: it ends later then.

        An execution that has ended is returned as it is.
        """
        until = time.monotonic() + min(WAIT_S, patience_s)
        pause_s = _FIRST_POLL_S
        is_asked = False
        while record.status not in ENDED:
            ended = await self._end_queued(record) if record.status == "QUEUED" else None
            if ended is not None:
                return ended
            if not is_asked and await self._repository.request_cancel(record.id, record.owner_id) is not None:
                await self._notices.cancel_wanted(record.id)
                is_asked = True
            if is_asked and time.monotonic() > until:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_POLL_S)
            record = await self._repository.get(record.id, record.owner_id) or record
        return record

    async def _end_queued(self, record: Record) -> Record | None:
        line = line_of(Event(EventKind.EXECUTION_TERMINATED, time.time_ns() // 1000), -1, 0)
        ended = await self._repository.cancel_queued(record.id, record.owner_id, write_row([line]), record.last_seq)
        if ended is not None:
            self._notices.happened(ended, ended.last_seq, [line])
        return ended
