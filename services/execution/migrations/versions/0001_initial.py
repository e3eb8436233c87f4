"""Executions, their journals, and the graph versions they run."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DDL = (
    """
    CREATE TABLE execution (
        id uuid PRIMARY KEY,
        owner_id text NOT NULL,
        graph_id text NOT NULL,
        graph_version integer NOT NULL,
        status text NOT NULL,
        outcome text NOT NULL DEFAULT '',
        inputs text NOT NULL,
        input_masks text NOT NULL,
        outputs text NOT NULL DEFAULT '{}',
        stats text NOT NULL DEFAULT '{}',
        error text NOT NULL DEFAULT '',
        last_seq integer NOT NULL,
        request_id text,
        request_hash text NOT NULL DEFAULT '',
        epoch integer NOT NULL DEFAULT 0,
        worker_id text NOT NULL DEFAULT '',
        lease_until timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        cancel_requested boolean NOT NULL DEFAULT false,
        dry_run boolean NOT NULL DEFAULT false,
        create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
        start_time timestamptz,
        end_time timestamptz,
        CONSTRAINT execution_request_key UNIQUE (owner_id, request_id),
        CONSTRAINT execution_owner_check CHECK (owner_id <> ''),
        CONSTRAINT execution_graph_check CHECK (graph_id <> ''),
        CONSTRAINT execution_request_check CHECK (request_id <> ''),
        CONSTRAINT execution_status_check
            CHECK (status IN ('QUEUED', 'RUNNING', 'REVIEW', 'COMPLETED', 'TERMINATED', 'FAILED'))
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX execution_of_owner ON execution (owner_id, create_time DESC, id DESC)",
    "CREATE INDEX execution_queued ON execution (create_time) WHERE status = 'QUEUED'",
    "CREATE INDEX execution_running ON execution (id) WHERE status = 'RUNNING'",
    """
    CREATE TABLE execution_event (
        execution_id uuid NOT NULL,
        seq integer NOT NULL,
        count integer NOT NULL,
        events text NOT NULL,
        PRIMARY KEY (execution_id, seq),
        CONSTRAINT execution_event_seq_check CHECK (seq > 0 AND count > 0)
    )
    """,
    """
    CREATE TABLE graph_snapshot (
        graph_id text NOT NULL,
        graph_version integer NOT NULL,
        owner_id text NOT NULL,
        document text NOT NULL,
        PRIMARY KEY (graph_id, graph_version)
    )
    """,
)


def upgrade() -> None:
    """Creates the tables."""
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    """Drops the tables with all that is in them."""
    for table in ("graph_snapshot", "execution_event", "execution"):
        op.drop_table(table)
