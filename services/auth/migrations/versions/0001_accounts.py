"""Accounts, refresh tokens and signing keys."""

from alembic import op

revision = "auth_0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE account (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        email text NOT NULL UNIQUE CHECK (email <> '' AND email = lower(email)),
        display_name text NOT NULL,
        password_hash text NOT NULL CHECK (password_hash <> ''),
        create_time timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE refresh_family (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        account_id uuid NOT NULL REFERENCES account ON DELETE CASCADE,
        create_time timestamptz NOT NULL DEFAULT now(),
        expire_time timestamptz NOT NULL,
        end_time timestamptz,
        end_reason text CHECK (end_reason IN ('LOGOUT', 'REUSE')),
        CHECK ((end_time IS NULL) = (end_reason IS NULL))
    )
    """,
    "CREATE INDEX refresh_family_account ON refresh_family (account_id)",
    """
    CREATE TABLE refresh_token (
        digest bytea PRIMARY KEY CHECK (length(digest) = 32),
        family_id uuid NOT NULL REFERENCES refresh_family ON DELETE CASCADE,
        create_time timestamptz NOT NULL DEFAULT now(),
        expire_time timestamptz NOT NULL,
        use_time timestamptz
    )
    """,
    "CREATE INDEX refresh_token_family ON refresh_token (family_id)",
    """
    CREATE TABLE signing_key (
        kid text PRIMARY KEY CHECK (kid <> ''),
        sealed_key bytea NOT NULL,
        create_time timestamptz NOT NULL DEFAULT now(),
        retire_time timestamptz
    )
    """,
    # At most one key signs: processes that start together cannot make two.
    "CREATE UNIQUE INDEX signing_key_in_force ON signing_key ((retire_time IS NULL)) WHERE retire_time IS NULL",
)


def upgrade() -> None:
    """Creates the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drops the tables."""
    op.execute("DROP TABLE signing_key, refresh_token, refresh_family, account")
