"""Executions of drafts."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.execute("ALTER TABLE execution ADD COLUMN graph_revision text NOT NULL DEFAULT ''")


def downgrade() -> None:
    """Takes it away; executions of drafts cannot be replayed then."""
    op.execute("ALTER TABLE execution DROP COLUMN graph_revision")
