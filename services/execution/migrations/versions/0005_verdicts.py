"""An index over the runs that no worker has although they are at work: sweeps and claims look for them often, and mostly find none."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.execute("CREATE INDEX execution_verdicts ON execution (verdict, id) WHERE status = 'RUNNING' AND verdict <> ''")


def downgrade() -> None:
    """Takes it away."""
    op.execute("DROP INDEX execution_verdicts")
