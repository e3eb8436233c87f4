"""Drafts: what people are working on."""

from alembic import op

revision = "graph_0002"
down_revision = "graph_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table. Editors save often: the free space keeps the updates of a row inside its page."""
    op.execute(
        """
        CREATE TABLE draft (
            owner_id text NOT NULL CHECK (owner_id <> ''),
            graph_id uuid NOT NULL,
            base_version int NOT NULL CHECK (base_version >= 0),
            name text NOT NULL,
            description text NOT NULL,
            instructions text NOT NULL,
            document text NOT NULL,
            revision text NOT NULL CHECK (revision <> ''),
            input_schema text NOT NULL,
            output_schema text NOT NULL,
            problems text NOT NULL,
            problem_count int NOT NULL CHECK (problem_count >= 0),
            request_id text CHECK (request_id <> ''),
            request_hash text,
            create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
            update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (owner_id, graph_id),
            UNIQUE (owner_id, request_id)
        ) WITH (fillfactor = 70)
        """
    )


def downgrade() -> None:
    """Drops the table."""
    op.execute("DROP TABLE draft")
