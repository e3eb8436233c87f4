"""Runs that wait without a worker, answers to them, child runs, and values kept beside the journal.

No index speaks of a column that heartbeats and commits change (`lease_until`, `last_seq`): those updates stay inside their page.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UP = (
    """
    ALTER TABLE execution
        ADD COLUMN signals integer NOT NULL DEFAULT 0,
        ADD COLUMN wake_time timestamptz,
        ADD COLUMN parent_id uuid,
        ADD COLUMN parent_firing integer NOT NULL DEFAULT 0,
        ADD COLUMN parent_wait integer NOT NULL DEFAULT 0,
        ADD COLUMN parent_told boolean NOT NULL DEFAULT false,
        ADD COLUMN answer text,
        ADD COLUMN root_id uuid,
        ADD COLUMN depth integer NOT NULL DEFAULT 0,
        ADD COLUMN tree_count integer NOT NULL DEFAULT 1,
        ADD COLUMN retry_of uuid,
        ADD COLUMN timezone text NOT NULL DEFAULT 'UTC',
        ADD COLUMN letter_due boolean NOT NULL DEFAULT false
    """,
    "DROP INDEX execution_queued",
    "DROP INDEX execution_running",
    "CREATE INDEX execution_queued ON execution (owner_id, create_time) WHERE status = 'QUEUED'",
    "CREATE INDEX execution_held ON execution (owner_id, worker_id) WHERE status = 'RUNNING' AND worker_id <> ''",
    "CREATE INDEX execution_due ON execution (wake_time) WHERE wake_time IS NOT NULL",
    "CREATE INDEX execution_open_children ON execution (parent_id) WHERE parent_id IS NOT NULL AND end_time IS NULL",
    "CREATE INDEX execution_untold ON execution (id) WHERE parent_id IS NOT NULL AND end_time IS NOT NULL AND NOT parent_told",
    "CREATE INDEX execution_letters ON execution (id) WHERE letter_due",
    """
    CREATE TABLE execution_signal (
        execution_id uuid NOT NULL,
        firing integer NOT NULL,
        wait integer NOT NULL,
        answer text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (execution_id, firing, wait)
    )
    """,
    """
    CREATE TABLE execution_value (
        execution_id uuid NOT NULL,
        sha256 text NOT NULL,
        size_bytes integer NOT NULL,
        content text NOT NULL,
        PRIMARY KEY (execution_id, sha256),
        CONSTRAINT execution_value_sha256_check CHECK (sha256 <> '')
    )
    """,
)

_DOWN = (
    "DROP TABLE execution_value",
    "DROP TABLE execution_signal",
    "DROP INDEX execution_queued",
    """
    ALTER TABLE execution
        DROP COLUMN signals, DROP COLUMN wake_time, DROP COLUMN parent_id, DROP COLUMN parent_firing, DROP COLUMN parent_wait,
        DROP COLUMN parent_told, DROP COLUMN answer, DROP COLUMN root_id, DROP COLUMN depth, DROP COLUMN tree_count, DROP COLUMN retry_of,
        DROP COLUMN timezone, DROP COLUMN letter_due
    """,
    "DROP INDEX execution_held",
    "CREATE INDEX execution_queued ON execution (create_time) WHERE status = 'QUEUED'",
    "CREATE INDEX execution_running ON execution (id) WHERE status = 'RUNNING'",
)


def upgrade() -> None:
    """Adds columns, tables and the indexes that waiting needs."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Takes them away, with the answers and values in them."""
    for statement in _DOWN:
        op.execute(statement)
