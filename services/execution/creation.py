"""Accepts executions: many calls share one commit, and each is durable when its call returns."""

import asyncio
import datetime as dt
import hashlib
import time
from dataclasses import dataclass

from mesh.errors import RequestIdReusedError, TreadleError
from mesh.group_commit import GroupCommit
from mesh.ids import uuid7
from mesh.logs import get_logger
from services.execution.engine.events import Event, EventKind
from services.execution.errors import DATABASE_AWAY, database_away
from services.execution.lines import Line, line_of, write_row
from services.execution.repository.executions import ExecutionRepository, NewExecution, Record

_log = get_logger("execution.creation")

# Longer than any commit takes. A caller may have to wait for the batch before as well.
_COMMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to run a graph version, or with a revision a draft; checked. `inputs`, `input_masks` and `agents` are JSON text."""

    owner_id: str
    graph_id: str
    graph_version: int
    inputs: str
    input_masks: str
    dry_run: bool
    request_id: str
    request_hash: str
    timezone: str = "UTC"
    retry_of: str | None = None
    agents: str = "{}"
    graph_revision: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An execution, and its first event when it is new."""

    record: Record
    first: Line | None


@dataclass(slots=True)
class _Pending:
    new: NewExecution
    created: asyncio.Future[dt.datetime | None]


class Creation:
    """Creates executions in group commits."""

    def __init__(self, repository: ExecutionRepository) -> None:
        self._repository = repository
        self._group: GroupCommit[_Pending] = GroupCommit(self._commit, max_batch=200)

    async def run(self) -> None:
        """Commits until cancelled."""
        await self._group.run()

    async def create(self, wanted: Wanted) -> Accepted:
        """Creates an execution, or finds the one that the same request made before.

        Raises RequestIdReusedError when another request had this request_id, UnavailableError when the database
        is away; the execution may exist then, and a repeat with the same request_id tells.
        """
        line = line_of(Event(EventKind.EXECUTION_QUEUED, time.time_ns() // 1000), -1, 0)
        new = NewExecution(
            id=uuid7(),
            owner_id=wanted.owner_id,
            graph_id=wanted.graph_id,
            graph_version=wanted.graph_version,
            inputs=wanted.inputs,
            input_masks=wanted.input_masks,
            request_id=wanted.request_id or None,
            request_hash=wanted.request_hash,
            dry_run=wanted.dry_run,
            events=write_row([line]),
            timezone=wanted.timezone,
            retry_of=wanted.retry_of,
            agents=wanted.agents,
            graph_revision=wanted.graph_revision,
        )
        pending = _Pending(new, asyncio.get_running_loop().create_future())
        self._group.add(pending)
        create_time = await pending.created
        if create_time is None:
            record = await self.made_before(wanted.owner_id, wanted.request_id, wanted.request_hash)
            if record is None:
                raise database_away()
            return Accepted(record, None)
        return Accepted(_record(new, create_time), line)

    async def made_before(self, owner_id: str, request_id: str, request_hash: str) -> Record | None:
        """What an earlier call with this request_id made; None when there was none. Raises as `create` does."""
        try:
            found = await self._repository.find_by_request(owner_id, request_id)
        except DATABASE_AWAY as away:
            raise database_away() from away
        if found is None:
            return None
        record, first_hash = found
        if first_hash != request_hash:
            raise RequestIdReusedError(request_id)
        return record

    async def _commit(self, batch: list[_Pending]) -> None:
        # Callers that have left want nothing any more.
        batch = [pending for pending in batch if not pending.created.done()]
        error: TreadleError | Exception
        try:
            # Around it all: the pool waits for ever to give back a connection whose server does not even hear that it is to stop.
            async with asyncio.timeout(_COMMIT_S):
                made = await self._repository.create([pending.new for pending in batch]) if batch else {}
        except DATABASE_AWAY as away:
            _log.warning("create_failed", executions=len(batch), error=type(away).__name__)
            error = database_away()
        except Exception as fault:  # noqa: BLE001,RUF100 - each caller gets it, the writer goes on
            if len(batch) > 1:
                for pending in batch:
                    await self._commit([pending])
                return
            error = fault
        else:
            for pending in batch:
                if not pending.created.done():
                    pending.created.set_result(made.get(pending.new.id))
            return
        for pending in batch:
            if not pending.created.done():
                pending.created.set_exception(error)


def request_hash(*parts: str) -> str:
    """What two requests have in common when they ask for the same."""
    digest = hashlib.sha256()
    for part in parts:
        text = part.encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()


def _record(new: NewExecution, create_time: dt.datetime) -> Record:
    return Record(
        id=new.id,
        owner_id=new.owner_id,
        graph_id=new.graph_id,
        graph_version=new.graph_version,
        status="QUEUED",
        outcome="",
        inputs=new.inputs,
        input_masks=new.input_masks,
        outputs="{}",
        stats="{}",
        error="",
        last_seq=1,
        cancel_requested=False,
        dry_run=new.dry_run,
        create_time=create_time,
        retry_of=new.retry_of,
        timezone=new.timezone,
        request_id=new.request_id,
        graph_revision=new.graph_revision,
    )
