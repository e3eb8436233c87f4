"""Statements about the rows of executions as their owners see them, and about the graph versions that they run."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from services.execution.repository.journal_reads import JournalReads
from services.execution.snapshot_ids import draft_id

_REST = """stats, error, last_seq, cancel_requested, dry_run, create_time, start_time, end_time, parent_id::text, root_id::text, depth,
    retry_of::text, timezone, wake_time, worker_id, request_id, graph_revision"""

_COLUMNS = f"id::text, owner_id, graph_id, graph_version, status, outcome, inputs, input_masks, outputs, {_REST}"

# Listings and heads leave out what may be large.
_LIST_COLUMNS = f"id::text, owner_id, graph_id, graph_version, status, outcome, '{{}}', '{{}}', '{{}}', {_REST}"

_CREATE = """
WITH batch AS (
    SELECT * FROM unnest($1::text[]::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[],
                         $9::bool[], $10::text[], $11::text[]::uuid[], $12::text[], $13::text[], $14::text[])
        AS b(id, owner_id, graph_id, graph_version, inputs, input_masks, request_id, request_hash, dry_run, timezone, retry_of, events,
             agents, graph_revision)
), made AS (
    INSERT INTO execution (id, owner_id, graph_id, graph_version, status, inputs, input_masks, last_seq, request_id, request_hash, dry_run,
                           timezone, retry_of, agents, graph_revision)
    SELECT id, owner_id, graph_id, graph_version, 'QUEUED', inputs, input_masks, 1, request_id, request_hash, dry_run, timezone, retry_of,
        coalesce((SELECT before.agents FROM execution before WHERE before.id = batch.retry_of), agents), graph_revision
    FROM batch
    ON CONFLICT (owner_id, request_id) DO NOTHING
    RETURNING id, create_time
), journal AS (
    INSERT INTO execution_event (execution_id, seq, count, events)
    SELECT b.id, 1, 1, b.events FROM batch b JOIN made m ON m.id = b.id
)
SELECT id::text, create_time FROM made
"""

_BY_REQUEST = f"SELECT {_COLUMNS}, request_hash FROM execution WHERE owner_id = $1 AND request_id = $2"  # noqa: S608 - constants

_GET = f"SELECT {_COLUMNS} FROM execution WHERE id = $1 AND owner_id = $2"  # noqa: S608

_HEAD = f"SELECT {_LIST_COLUMNS} FROM execution WHERE id = $1 AND owner_id = $2"  # noqa: S608

_LIST = f"""
SELECT {_LIST_COLUMNS} FROM execution
WHERE owner_id = $1 AND ($2 = '' OR graph_id = $2) AND ($3 = '' OR status = $3)
    AND (create_time, id) < (coalesce($4, 'infinity'::timestamptz), $5::uuid)
ORDER BY create_time DESC, id DESC LIMIT $6
"""  # noqa: S608

# A statement of its own, so that whatever plan is kept for it finds them by their parent.
LIST_CHILDREN = _LIST.replace("WHERE owner_id", "WHERE parent_id = $7 AND owner_id")

_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# What is before a queued execution of its owner: those that workers have, and those that were accepted earlier.
_QUEUE = """
SELECT (SELECT count(*)::int FROM execution WHERE owner_id = $1 AND status = 'RUNNING' AND worker_id <> ''),
    (SELECT count(*)::int FROM execution WHERE owner_id = $1 AND status = 'QUEUED' AND create_time < $2)
"""

_PUT_SNAPSHOT = """
INSERT INTO graph_snapshot (graph_id, graph_version, owner_id, document) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""

_GET_SNAPSHOT = "SELECT document FROM graph_snapshot WHERE graph_id = $1 AND graph_version = $2"


@dataclass(frozen=True, slots=True)
class NewExecution:
    """An execution to create. `inputs`, `input_masks` and `events` (the first event, as a JSON array) are JSON text.

    `retry_of` is the execution whose results it may take over, and its versions of agents as well. Else `agents` (JSON text) says which
    versions stand for version 0.
    """

    id: str
    owner_id: str
    graph_id: str
    graph_version: int
    inputs: str
    input_masks: str
    request_id: str | None
    request_hash: str
    dry_run: bool
    events: str
    timezone: str = "UTC"
    retry_of: str | None = None
    agents: str = "{}"
    graph_revision: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """The row of an execution. Status and outcome are names without their enum prefix; inputs, outputs and stats are JSON text.

    `parent_id` is the execution that runs this one as a firing, and `request_id` begins with that firing then; `root_id` is the top of the
    tree, None for itself. `worker_id` is empty while no worker has it. `graph_revision` is that of the draft it runs, empty for a version.
    """

    id: str
    owner_id: str
    graph_id: str
    graph_version: int
    status: str
    outcome: str
    inputs: str
    input_masks: str
    outputs: str
    stats: str
    error: str
    last_seq: int
    cancel_requested: bool
    dry_run: bool
    create_time: dt.datetime
    start_time: dt.datetime | None = None
    end_time: dt.datetime | None = None
    parent_id: str | None = None
    root_id: str | None = None
    depth: int = 0
    retry_of: str | None = None
    timezone: str = "UTC"
    wake_time: dt.datetime | None = None
    worker_id: str = ""
    request_id: str | None = None
    graph_revision: str = ""

    @property
    def snapshot(self) -> tuple[str, int]:
        """The id and version under which the graph that it runs is kept."""
        return draft_id(self.graph_id, self.graph_revision), self.graph_version


class ExecutionRepository(JournalReads):
    """Reads and writes executions and reads their journals. Every method is one statement, except where it says otherwise."""

    async def create(self, batch: Sequence[NewExecution]) -> dict[str, dt.datetime]:
        """Creates executions, each with its first event. Returns creation times by id; one whose request_id is taken is absent."""
        rows = await self._pool.fetch(
            _CREATE,
            [item.id for item in batch],
            [item.owner_id for item in batch],
            [item.graph_id for item in batch],
            [item.graph_version for item in batch],
            [item.inputs for item in batch],
            [item.input_masks for item in batch],
            [item.request_id for item in batch],
            [item.request_hash for item in batch],
            [item.dry_run for item in batch],
            [item.timezone for item in batch],
            [item.retry_of for item in batch],
            [item.events for item in batch],
            [item.agents for item in batch],
            [item.graph_revision for item in batch],
        )
        return {row[0]: row[1] for row in rows}

    async def find_by_request(self, owner_id: str, request_id: str) -> tuple[Record, str] | None:
        """The execution that a request_id made, and the hash of the request that made it."""
        row = await self._pool.fetchrow(_BY_REQUEST, owner_id, request_id)
        return None if row is None else (Record(*tuple(row)[:-1]), row["request_hash"])

    async def get(self, execution_id: str, owner_id: str) -> Record | None:
        """The execution, if it is this owner's."""
        row = await self._pool.fetchrow(_GET, execution_id, owner_id)
        return None if row is None else Record(*row)

    async def head(self, execution_id: str, owner_id: str) -> Record | None:
        """The same without inputs, masks and outputs."""
        row = await self._pool.fetchrow(_HEAD, execution_id, owner_id)
        return None if row is None else Record(*row)

    async def find(
        self, owner_id: str, *, graph_id: str, status: str, parent_id: str | None, before: tuple[dt.datetime, str] | None, limit: int
    ) -> list[Record]:
        """Executions of an owner, newest first, those after the (create time, id) of the last one seen."""
        query = owner_id, graph_id, status, *(before or (None, _LAST_UUID)), limit
        rows = await (self._pool.fetch(_LIST, *query) if parent_id is None else self._pool.fetch(LIST_CHILDREN, *query, parent_id))
        return [Record(*row) for row in rows]

    async def queue(self, owner_id: str, create_time: dt.datetime) -> tuple[int, int]:
        """How many executions of the owner are at work, and how many are queued since before `create_time`."""
        row = await self._pool.fetchrow(_QUEUE, owner_id, create_time)
        return (0, 0) if row is None else (row[0], row[1])

    async def put_snapshot(self, graph_id: str, graph_version: int, owner_id: str, document: str) -> None:
        """Keeps a graph version for the workers. Repeating it changes nothing."""
        await self._pool.execute(_PUT_SNAPSHOT, graph_id, graph_version, owner_id, document)

    async def get_snapshot(self, graph_id: str, graph_version: int) -> str | None:
        """The document of a graph version that some execution runs."""
        document: str | None = await self._pool.fetchval(_GET_SNAPSHOT, graph_id, graph_version)
        return document
