"""What the execution service holds of a person: their executions with all that happened in them."""

import datetime as dt
from collections.abc import AsyncIterator

import nats.errors
from nats.js.errors import NotFoundError

from mesh.consumer import NotYetError
from mesh.http.encode import to_json
from mesh.personal_data import Piece
from mesh.streams import EVENTS, execution_subject
from services.execution.cancellation import stop
from services.execution.history import History
from services.execution.messages import execution_message
from services.execution.notices import Notices
from services.execution.repository.erasure import Erasure
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.tree import Tree

_PAGE = 50
_EVENTS = 500


class ExecutionData:
    """Executions of people."""

    def __init__(self, repository: ExecutionRepository, history: History, erasure: Erasure, tree: Tree, notices: Notices) -> None:
        self._repository = repository
        self._history = history
        self._erasure = erasure
        self._tree = tree
        self._notices = notices

    async def export(self, user_id: str) -> AsyncIterator[Piece]:
        """The executions, one a line, then a file of events for each. Secrets are masked, as everywhere."""
        before: tuple[dt.datetime, str] | None = None
        ids: list[str] = []
        while page := await self._repository.find(user_id, graph_id="", status="", parent_id=None, before=before, limit=_PAGE):
            for head in page:
                record = await self._repository.get(head.id, user_id)
                if record is not None:
                    ids.append(record.id)
                    yield Piece("executions.ndjson", to_json(execution_message(record)) + b"\n")
            before = page[-1].create_time, page[-1].id
        for execution_id in ids:
            async for piece in self._events(execution_id, user_id):
                yield piece

    async def erase(self, user_id: str) -> None:
        """Stops what runs, then deletes all. Raises NotYetError while workers still have some of it."""
        unfinished = await self._erasure.unfinished(user_id)
        if unfinished:
            await stop(self._tree, self._notices, unfinished)
            if await self._erasure.unfinished(user_id):
                raise NotYetError("workers have not let go of all executions")
        while await self._erasure.delete_of(user_id):
            pass
        await self._erasure.delete_snapshots(user_id)
        await self._purge(user_id)

    async def _events(self, execution_id: str, user_id: str) -> AsyncIterator[Piece]:
        record = await self._repository.head(execution_id, user_id)
        seq = 0
        while record is not None and (events := await self._history.events(record, seq, _EVENTS)):
            yield Piece(f"events/{execution_id}.ndjson", b"".join(to_json(event) + b"\n" for event in events))
            seq = events[-1].seq

    async def _purge(self, user_id: str) -> None:
        """What the bus still has for those who watch; it would go by itself within minutes."""
        if self._notices.bus is None:
            raise nats.errors.ConnectionClosedError
        try:
            await self._notices.bus.js.purge_stream(EVENTS, subject=execution_subject(user_id, "*"))
        except NotFoundError:
            return
