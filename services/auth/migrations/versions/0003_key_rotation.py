"""When a signing key begins to sign."""

from alembic import op

revision = "auth_0003"
down_revision = "auth_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keys that are there sign already. Revoked ones are kept, for the record."""
    op.execute("ALTER TABLE signing_key ADD COLUMN activate_time timestamptz NOT NULL DEFAULT now(), ADD COLUMN revoke_time timestamptz")


def downgrade() -> None:
    """Forgets it."""
    op.execute("ALTER TABLE signing_key DROP COLUMN activate_time, DROP COLUMN revoke_time")
