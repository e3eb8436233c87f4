"""API keys."""

from alembic import op

revision = "auth_0004"
down_revision = "auth_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    op.execute(
        """
        CREATE TABLE api_key (
            id uuid PRIMARY KEY DEFAULT uuidv7(),
            account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
            name text NOT NULL CHECK (name <> ''),
            prefix text NOT NULL UNIQUE CHECK (prefix <> ''),
            digest bytea NOT NULL CHECK (length(digest) = 32),
            scopes text[] NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now(),
            expire_time timestamptz,
            suspend_time timestamptz,
            last_use_time timestamptz
        )
        """
    )
    op.execute("CREATE INDEX api_key_account ON api_key (account_id, id)")


def downgrade() -> None:
    """Drops it."""
    op.execute("DROP TABLE api_key")
