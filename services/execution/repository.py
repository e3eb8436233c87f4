"""All SQL of the execution service's own calls; the worker's is in `worker.journal` and `worker.leases`."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

_COLUMNS = """id::text, owner_id, graph_id, graph_version, status, outcome, inputs, input_masks, outputs, stats, error, last_seq,
    cancel_requested, dry_run, create_time, start_time, end_time"""

# A listing leaves out what may be large.
_LIST_COLUMNS = """id::text, owner_id, graph_id, graph_version, status, outcome, '{}', '{}', '{}', stats, error, last_seq,
    cancel_requested, dry_run, create_time, start_time, end_time"""

_CREATE = """
WITH batch AS (
    SELECT * FROM unnest($1::text[]::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[],
                         $9::bool[], $10::text[])
        AS b(id, owner_id, graph_id, graph_version, inputs, input_masks, request_id, request_hash, dry_run, events)
), made AS (
    INSERT INTO execution (id, owner_id, graph_id, graph_version, status, inputs, input_masks, last_seq, request_id, request_hash, dry_run)
    SELECT id, owner_id, graph_id, graph_version, 'QUEUED', inputs, input_masks, 1, request_id, request_hash, dry_run FROM batch
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

_LIST = f"""
SELECT {_LIST_COLUMNS} FROM execution
WHERE owner_id = $1 AND ($2 = '' OR graph_id = $2) AND ($3 = '' OR status = $3)
    AND (create_time, id) < (coalesce($4, 'infinity'::timestamptz), $5::uuid)
ORDER BY create_time DESC, id DESC LIMIT $6
"""  # noqa: S608

_LAST_UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

# The first row that matters is the one that holds `after_seq + 1`; rows are found by their first seq.
_EVENTS = """
SELECT seq, count, events FROM execution_event
WHERE execution_id = $1 AND seq >= (
    SELECT coalesce(max(seq), 1) FROM execution_event WHERE execution_id = $1 AND seq <= $2 + 1
) AND seq + count > $2 + 1
ORDER BY seq LIMIT $3
"""

_PUT_SNAPSHOT = """
INSERT INTO graph_snapshot (graph_id, graph_version, owner_id, document) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""

_GET_SNAPSHOT = "SELECT document FROM graph_snapshot WHERE graph_id = $1 AND graph_version = $2"

_ROWS_AT_ONCE = 16
# A page of a journal with large values ends early, so that nobody holds a whole one in memory or in one message.
_PAGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class NewExecution:
    """An execution to create. `inputs`, `input_masks` and `events` (the first event, as a JSON array) are JSON text."""

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


@dataclass(frozen=True, slots=True)
class Record:
    """The row of an execution. Status and outcome are names without their enum prefix; inputs, outputs and stats are JSON text."""

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


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One row of a journal: `count` events from `seq` on, as a JSON array."""

    seq: int
    count: int
    events: str


class ExecutionRepository:
    """Reads and writes executions. Every method is one statement, except where it says otherwise."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

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
            [item.events for item in batch],
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

    async def find(self, owner_id: str, *, graph_id: str, status: str, before: tuple[dt.datetime, str] | None, limit: int) -> list[Record]:
        """Executions of an owner, newest first, those after the (create time, id) of the last one seen."""
        rows = await self._pool.fetch(_LIST, owner_id, graph_id, status, *(before or (None, _LAST_UUID)), limit)
        return [Record(*row) for row in rows]

    async def events(self, execution_id: str, after_seq: int, limit: int) -> list[JournalRow]:
        """Journal rows with events after `after_seq`, in order: until they hold `limit` events or about _PAGE_BYTES, or the journal
        ends. None only when there is none. Several statements.
        """
        found: list[JournalRow] = []
        missing = limit
        while missing > 0:
            asked = min(_ROWS_AT_ONCE, missing)
            rows = [JournalRow(*row) for row in await self._pool.fetch(_EVENTS, execution_id, after_seq, asked)]
            found += rows
            if len(rows) < asked or sum(len(row.events) for row in found) > _PAGE_BYTES:
                break
            missing -= sum(row.seq + row.count - 1 - max(after_seq, row.seq - 1) for row in rows)
            after_seq = rows[-1].seq + rows[-1].count - 1
        return found

    async def put_snapshot(self, graph_id: str, graph_version: int, owner_id: str, document: str) -> None:
        """Keeps a graph version for the workers. Repeating it changes nothing."""
        await self._pool.execute(_PUT_SNAPSHOT, graph_id, graph_version, owner_id, document)

    async def get_snapshot(self, graph_id: str, graph_version: int) -> str | None:
        """The document of a graph version that some execution runs."""
        document: str | None = await self._pool.fetchval(_GET_SNAPSHOT, graph_id, graph_version)
        return document
