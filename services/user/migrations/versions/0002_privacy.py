"""What people consented to, deletions of accounts, and messages that wait for the bus."""

from alembic import op

revision = "user_0002"
down_revision = "user_0001"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE consent (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        user_id uuid NOT NULL,
        document text NOT NULL CHECK (document <> ''),
        version text NOT NULL CHECK (version <> ''),
        is_granted boolean NOT NULL,
        source_address text NOT NULL DEFAULT '',
        create_time timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX consent_user ON consent (user_id, id)",
    """
    CREATE TABLE deletion (
        user_id uuid PRIMARY KEY,
        round int NOT NULL DEFAULT 1 CHECK (round IN (1, 2)),
        request_time timestamptz NOT NULL DEFAULT now(),
        ask_time timestamptz NOT NULL DEFAULT now(),
        complete_time timestamptz
    )
    """,
    "CREATE INDEX deletion_time ON deletion (request_time DESC, user_id DESC)",
    "CREATE INDEX deletion_open ON deletion (ask_time) WHERE complete_time IS NULL",
    """
    CREATE TABLE deletion_answer (
        user_id uuid NOT NULL REFERENCES deletion ON DELETE CASCADE,
        round int NOT NULL,
        service text NOT NULL CHECK (service <> ''),
        answer_time timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (user_id, round, service)
    )
    """,
    """
    CREATE TABLE outbox (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        subject text NOT NULL CHECK (subject <> ''),
        body text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now()
    )
    """,
)


def upgrade() -> None:
    """Creates the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drops the tables."""
    op.execute("DROP TABLE outbox, deletion_answer, deletion, consent")
