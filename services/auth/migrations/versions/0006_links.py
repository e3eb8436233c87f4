"""Links that work once, and messages that wait for the bus."""

from alembic import op

revision = "auth_0006"
down_revision = "auth_0005"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE link (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
        purpose text NOT NULL CHECK (purpose IN ('RESET', 'VERIFY', 'SIGN_IN')),
        email text NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        expire_time timestamptz NOT NULL,
        use_time timestamptz
    )
    """,
    "CREATE INDEX link_account ON link (account_id, purpose)",
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
    op.execute("DROP TABLE link, outbox")
