"""Who accounts are to OpenID Connect providers."""

from alembic import op

revision = "auth_0007"
down_revision = "auth_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    op.execute(
        """
        CREATE TABLE identity (
            issuer text NOT NULL CHECK (issuer <> ''),
            subject text NOT NULL CHECK (subject <> ''),
            account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
            create_time timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (issuer, subject)
        )
        """
    )
    op.execute("CREATE INDEX identity_account ON identity (account_id)")


def downgrade() -> None:
    """Drops it."""
    op.execute("DROP TABLE identity")
