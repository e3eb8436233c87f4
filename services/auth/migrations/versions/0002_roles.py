"""Roles of accounts."""

from alembic import op

revision = "auth_0002"
down_revision = "auth_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every account there is has the role of a person."""
    op.execute(
        """
        ALTER TABLE account ADD COLUMN roles text[] NOT NULL DEFAULT '{user}'
            CHECK (roles <@ ARRAY['user', 'creator', 'reviewer', 'admin'] AND 'user' = ANY (roles))
        """
    )


def downgrade() -> None:
    """Forgets them."""
    op.execute("ALTER TABLE account DROP COLUMN roles")
