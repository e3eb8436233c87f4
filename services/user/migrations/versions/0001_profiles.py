"""Profiles."""

from alembic import op

revision = "user_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    op.execute(
        """
        CREATE TABLE profile (
            id uuid PRIMARY KEY,
            email text NOT NULL CHECK (email <> ''),
            display_name text NOT NULL,
            timezone text NOT NULL DEFAULT 'UTC' CHECK (timezone <> ''),
            create_time timestamptz NOT NULL DEFAULT now(),
            update_time timestamptz NOT NULL DEFAULT now()
        )
        """
    )


def downgrade() -> None:
    """Drops the table."""
    op.execute("DROP TABLE profile")
