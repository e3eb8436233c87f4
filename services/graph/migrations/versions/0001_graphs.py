"""Graphs and their versions."""

from alembic import op

revision = "graph_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.execute(
        """
        CREATE TABLE graph (
            id uuid PRIMARY KEY,
            owner_id text NOT NULL CHECK (owner_id <> ''),
            active_version int NOT NULL CHECK (active_version >= 1),
            latest_version int NOT NULL CHECK (latest_version >= active_version),
            request_id text CHECK (request_id <> ''),
            request_hash text,
            create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
            update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
            UNIQUE (owner_id, request_id)
        )
        """
    )
    op.execute("CREATE INDEX graph_owner_update ON graph (owner_id, update_time DESC, id DESC)")
    op.execute(
        """
        CREATE TABLE graph_version (
            graph_id uuid NOT NULL REFERENCES graph ON DELETE CASCADE,
            version int NOT NULL CHECK (version >= 1),
            owner_id text NOT NULL CHECK (owner_id <> ''),
            name text NOT NULL CHECK (name <> ''),
            description text NOT NULL,
            instructions text NOT NULL,
            document text NOT NULL,
            input_schema text NOT NULL,
            output_schema text NOT NULL,
            create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (graph_id, version)
        )
        """
    )


def downgrade() -> None:
    """Drops the tables."""
    op.execute("DROP TABLE graph_version")
    op.execute("DROP TABLE graph")
