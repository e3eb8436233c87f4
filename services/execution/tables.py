"""Tables of the execution service, in schema `execution`.

`execution` is the row of a run and its lease; `execution_event` is its journal, one row per run and commit; `graph_snapshot` holds the
graph versions that runs use, so that a worker needs nobody to resume one.
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
    # Claims since a firing last ended: a run that kills its workers is given up.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("start_time", DateTime(timezone=True)),
    Column("end_time", DateTime(timezone=True)),
    UniqueConstraint("owner_id", "request_id", name="execution_request_key"),
    CheckConstraint("owner_id <> ''", name="execution_owner_check"),
    CheckConstraint("graph_id <> ''", name="execution_graph_check"),
    CheckConstraint("request_id <> ''", name="execution_request_check"),
    CheckConstraint("status IN ('QUEUED','RUNNING','REVIEW','COMPLETED','TERMINATED','FAILED')", name="execution_status_check"),
    Index("execution_of_owner", "owner_id", text("create_time DESC"), text("id DESC")),
    Index("execution_queued", "create_time", postgresql_where=text("status = 'QUEUED'")),
    # Few rows at any time, and none of the columns that heartbeats change.
    Index("execution_running", "id", postgresql_where=text("status = 'RUNNING'")),
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

GRAPH_SNAPSHOT = Table(
    "graph_snapshot",
    METADATA,
    Column("graph_id", Text, primary_key=True),
    Column("graph_version", Integer, primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("document", Text, nullable=False),
)
