"""Why nothing happens in an execution just now, for the person who looks at it."""

import datetime as dt

from services.execution.repository.executions import ExecutionRepository, Record


class WaitReasons:
    """Says why executions wait."""

    def __init__(self, repository: ExecutionRepository, max_running_per_user: int) -> None:
        self._repository = repository
        self._max_running = max_running_per_user

    async def of(self, record: Record) -> str:
        """The reason in words; empty for an execution that is at work or has ended. One statement for a queued one, none for others."""
        if record.status == "QUEUED":
            running, before = await self._repository.queue(record.owner_id, record.create_time)
            return _queued(running, before, self._max_running)
        if record.worker_id or record.end_time is not None:
            return ""
        if record.status == "REVIEW":
            return "a person has to decide: see its reviews"
        if record.wake_time is None:
            return "waits for the end of an execution that it started"
        return f"waits until {_text(record.wake_time)}"


def _queued(running: int, before: int, limit: int) -> str:
    queue = f"; {before} of yours came before it" if before else ""
    if running >= limit:
        return f"{running} of your executions are at work, as many as may be at the same time{queue}"
    return f"waits for a worker{queue}"


def _text(time: dt.datetime) -> str:
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
