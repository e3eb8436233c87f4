"""Tables of the execution service, in schema `execution`.

`execution` is the row of a run and its lease; `execution_event` is its journal, one row per run and commit; `execution_signal` holds
the answers that runs wait for, `execution_value` large values of the journal; `graph_snapshot` holds the graph versions that runs use, so
that a worker needs nobody to resume one.

A run is *held* (RUNNING, with a worker and a lease), *parked* (RUNNING or REVIEW, without either, until `wake_time` or a signal), queued
or ended.
"""

from sqlalchemy import Boolean, CheckConstraint, Column, DateTime, Index, Integer, MetaData, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import UUID

METADATA = MetaData()

# Rows change often and stay small: the free space keeps their updates inside the page, without new index entries.
_ROOM_FOR_UPDATES = "70"

EXECUTION = Table(
    "execution",
    METADATA,
    Column("id", UUID, primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("graph_id", Text, nullable=False),
    Column("graph_version", Integer, nullable=False),
    # SHA-256 of the draft that it runs, empty for a version; the snapshot is found by it.
    Column("graph_revision", Text, nullable=False, server_default=""),
    Column("status", Text, nullable=False),
    Column("outcome", Text, nullable=False, server_default=""),
    Column("inputs", Text, nullable=False),
    Column("input_masks", Text, nullable=False),
    Column("outputs", Text, nullable=False, server_default="{}"),
    Column("stats", Text, nullable=False, server_default="{}"),
    Column("error", Text, nullable=False, server_default=""),
    Column("last_seq", Integer, nullable=False),
    Column("request_id", Text),
    Column("request_hash", Text, nullable=False, server_default=""),
    # The fence: each claim makes it one more, and only the holder of the newest may extend the journal.
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("worker_id", Text, nullable=False, server_default=""),
    Column("lease_until", DateTime(timezone=True)),
    # Workers that have had it since a firing last ended, this one included: a run that kills its workers is given up.
    Column("attempts", Integer, nullable=False, server_default="0"),
    # What became of it when its worker was lost (`worker/judge.py`); empty while a worker has it. `losses` counts these, whoever was to
    # blame, since a firing last ended.
    Column("verdict", Text, nullable=False, server_default=""),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    # Answers that came so far; a worker compares it with what it has read.
    Column("signals", Integer, nullable=False, server_default="0"),
    # When a parked run is to go on; NULL when only a signal wakes it, and for all others.
    Column("wake_time", DateTime(timezone=True)),
    # The firing that waits for this run's end, and which of its waits that is. `answer` is what it will be told.
    Column("parent_id", UUID),
    Column("parent_firing", Integer, nullable=False, server_default="0"),
    Column("parent_wait", Integer, nullable=False, server_default="0"),
    Column("parent_told", Boolean, nullable=False, server_default=text("false")),
    Column("answer", Text),
    # The run that nobody started as a child; its row counts the runs below it and itself. NULL for itself.
    Column("root_id", UUID),
    Column("depth", Integer, nullable=False, server_default="0"),
    Column("tree_count", Integer, nullable=False, server_default="1"),
    Column("retry_of", UUID),
    # Which versions of the owner's agents stand for version 0, in the whole tree: a JSON object by graph id.
    Column("agents", Text, nullable=False, server_default="{}"),
    Column("timezone", Text, nullable=False, server_default="UTC"),
    # Given up, and the dead letter not sent yet.
    Column("letter_due", Boolean, nullable=False, server_default=text("false")),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("start_time", DateTime(timezone=True)),
    Column("end_time", DateTime(timezone=True)),
    UniqueConstraint("owner_id", "request_id", name="execution_request_key"),
    CheckConstraint("owner_id <> ''", name="execution_owner_check"),
    CheckConstraint("graph_id <> ''", name="execution_graph_check"),
    CheckConstraint("request_id <> ''", name="execution_request_check"),
    CheckConstraint("verdict IN ('', 'LOST', 'SUSPECT')", name="execution_verdict_check"),
    CheckConstraint("status IN ('QUEUED','RUNNING','REVIEW','COMPLETED','TERMINATED','FAILED')", name="execution_status_check"),
    Index("execution_of_owner", "owner_id", text("create_time DESC"), text("id DESC")),
    Index("execution_queued", "owner_id", "create_time", postgresql_where=text("status = 'QUEUED'")),
    # Few rows at any time, and none of the columns that heartbeats and commits change; so in all of these.
    Index("execution_held", "owner_id", "worker_id", postgresql_where=text("status = 'RUNNING' AND worker_id <> ''")),
    Index("execution_verdicts", "verdict", "id", postgresql_where=text("status = 'RUNNING' AND verdict <> ''")),
    Index("execution_due", "wake_time", postgresql_where=text("wake_time IS NOT NULL")),
    Index("execution_children", "parent_id", "create_time", postgresql_where=text("parent_id IS NOT NULL")),
    Index("execution_open_children", "parent_id", postgresql_where=text("parent_id IS NOT NULL AND end_time IS NULL")),
    Index("execution_untold", "id", postgresql_where=text("parent_id IS NOT NULL AND end_time IS NOT NULL AND NOT parent_told")),
    Index("execution_letters", "id", postgresql_where=text("letter_due")),
    postgresql_with={"fillfactor": _ROOM_FOR_UPDATES},
)

EXECUTION_EVENT = Table(
    "execution_event",
    METADATA,
    Column("execution_id", UUID, primary_key=True),
    # Seq of the first event in the row; the next row starts at `seq + count`.
    Column("seq", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("events", Text, nullable=False),
    CheckConstraint("seq > 0 AND count > 0", name="execution_event_seq_check"),
)

EXECUTION_SIGNAL = Table(
    "execution_signal",
    METADATA,
    Column("execution_id", UUID, primary_key=True),
    # The firing's index in the run, and which of its waits is answered, from 0. The first answer wins.
    Column("firing", Integer, primary_key=True),
    Column("wait", Integer, primary_key=True),
    Column("answer", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
)

EXECUTION_VALUE = Table(
    "execution_value",
    METADATA,
    Column("execution_id", UUID, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("content", Text, nullable=False),
    CheckConstraint("sha256 <> ''", name="execution_value_sha256_check"),
)

GRAPH_SNAPSHOT = Table(
    "graph_snapshot",
    METADATA,
    Column("graph_id", Text, primary_key=True),
    Column("graph_version", Integer, primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("document", Text, nullable=False),
)
