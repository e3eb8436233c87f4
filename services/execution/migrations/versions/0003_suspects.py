"""Runs whose workers were lost: who is to blame, and who waits to run alone. Versions of nested agents, and an index over all children."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_UP = (
    """
    ALTER TABLE execution
        ADD COLUMN verdict text NOT NULL DEFAULT '',
        ADD COLUMN losses integer NOT NULL DEFAULT 0,
        ADD COLUMN agents text NOT NULL DEFAULT '{}',
        ADD CONSTRAINT execution_verdict_check CHECK (verdict IN ('', 'LOST', 'SUSPECT', 'PROBATION'))
    """,
    "CREATE INDEX execution_children ON execution (parent_id, create_time) WHERE parent_id IS NOT NULL",
)

_DOWN = (
    "DROP INDEX execution_children",
    "ALTER TABLE execution DROP COLUMN verdict, DROP COLUMN losses, DROP COLUMN agents",
)


def upgrade() -> None:
    """Adds columns, and the index for `parent_id`."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Takes them away."""
    for statement in _DOWN:
        op.execute(statement)
