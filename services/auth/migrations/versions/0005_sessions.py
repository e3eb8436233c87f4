"""What sign-ins show of their devices, and more ways for them to end."""

from alembic import op

revision = "auth_0005"
down_revision = "auth_0004"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    ALTER TABLE refresh_family
        ADD COLUMN source_address text NOT NULL DEFAULT '',
        ADD COLUMN user_agent text NOT NULL DEFAULT '',
        ADD COLUMN last_use_time timestamptz NOT NULL DEFAULT now(),
        DROP CONSTRAINT refresh_family_end_reason_check,
        ADD CONSTRAINT refresh_family_end_reason_check CHECK (end_reason IN ('LOGOUT', 'REUSE', 'PASSWORD', 'ENDED'))
    """,
    # Accounts that another provider signs in have none.
    "ALTER TABLE account ALTER COLUMN password_hash DROP NOT NULL, ADD COLUMN email_verify_time timestamptz",
)


def upgrade() -> None:
    """Changes the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Changes them back; what ended in a new way counts as signed out."""
    op.execute("UPDATE refresh_family SET end_reason = 'LOGOUT' WHERE end_reason IN ('PASSWORD', 'ENDED')")
    op.execute(
        """
        ALTER TABLE refresh_family DROP COLUMN source_address, DROP COLUMN user_agent, DROP COLUMN last_use_time,
            DROP CONSTRAINT refresh_family_end_reason_check,
            ADD CONSTRAINT refresh_family_end_reason_check CHECK (end_reason IN ('LOGOUT', 'REUSE'))
        """
    )
    op.execute("DELETE FROM account WHERE password_hash IS NULL")
    op.execute("ALTER TABLE account ALTER COLUMN password_hash SET NOT NULL, DROP COLUMN email_verify_time")
