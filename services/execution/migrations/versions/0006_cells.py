"""Suspects run in processes of their own: none is on probation any more."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is on probation is taken from its worker and goes on as a suspect."""
    op.execute(
        """
        UPDATE execution SET verdict = 'SUSPECT', epoch = epoch + 1, lease_until = now(), attempts = greatest(attempts - 1, 0)
        WHERE verdict = 'PROBATION' AND status = 'RUNNING' AND worker_id <> ''
        """
    )
    op.execute("UPDATE execution SET verdict = '' WHERE verdict = 'PROBATION'")
    op.execute("ALTER TABLE execution DROP CONSTRAINT execution_verdict_check")
    op.execute("ALTER TABLE execution ADD CONSTRAINT execution_verdict_check CHECK (verdict IN ('', 'LOST', 'SUSPECT'))")


def downgrade() -> None:
    """Allows probation again."""
    op.execute("ALTER TABLE execution DROP CONSTRAINT execution_verdict_check")
    op.execute("ALTER TABLE execution ADD CONSTRAINT execution_verdict_check CHECK (verdict IN ('', 'LOST', 'SUSPECT', 'PROBATION'))")
