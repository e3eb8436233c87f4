"""The log and its head.

`body` is the record as it came, and what its hash covers. All that is searched by is generated from it, so no column can say otherwise.
"""

from alembic import op

revision = "audit_0001"
down_revision = None
branch_labels = None
depends_on = None

_DDL = (
    """
    CREATE FUNCTION resource_ids(body text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
        AS $$ SELECT coalesce(array_agg(value), '{}') FROM json_each_text(body::json -> 'resources') $$
    """,
    """
    CREATE TABLE record (
        seq bigint PRIMARY KEY CHECK (seq > 0),
        hash text NOT NULL CHECK (length(hash) = 64),
        body text NOT NULL,
        id uuid GENERATED ALWAYS AS ((body::json ->> 'id')::uuid) STORED NOT NULL UNIQUE,
        time_us bigint GENERATED ALWAYS AS ((body::json ->> 'time_us')::bigint) STORED NOT NULL,
        actor_id text GENERATED ALWAYS AS (body::json ->> 'actor_id') STORED NOT NULL,
        user_id text GENERATED ALWAYS AS (body::json ->> 'user_id') STORED NOT NULL,
        method text GENERATED ALWAYS AS (body::json ->> 'method') STORED NOT NULL,
        code text GENERATED ALWAYS AS (body::json ->> 'code') STORED NOT NULL,
        resource_ids text[] GENERATED ALWAYS AS (resource_ids(body)) STORED NOT NULL
    )
    """,
    "CREATE INDEX record_time ON record (time_us)",
    "CREATE INDEX record_actor ON record (actor_id, seq)",
    "CREATE INDEX record_user ON record (user_id, seq)",
    "CREATE INDEX record_method ON record (method, seq)",
    # What went well is found soon enough without.
    "CREATE INDEX record_failed ON record (code, seq) WHERE code <> 'OK'",
    "CREATE INDEX record_resource ON record USING gin (resource_ids)",
    # One row: the newest record, and the one before the first that is kept. Whoever appends holds it.
    """
    CREATE TABLE head (
        is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
        seq bigint NOT NULL DEFAULT 0,
        hash text NOT NULL DEFAULT repeat('0', 64),
        cut_seq bigint NOT NULL DEFAULT 0,
        cut_hash text NOT NULL DEFAULT repeat('0', 64)
    )
    """,
    "INSERT INTO head DEFAULT VALUES",
    # Against accidents; what somebody does who gets around it, the hashes show.
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('audit.retention', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the audit log only grows';
    END $$
    """,
    "CREATE TRIGGER record_is_final BEFORE UPDATE OR DELETE ON record FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE TRIGGER record_stays BEFORE TRUNCATE ON record FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
)


def upgrade() -> None:
    """Creates the tables."""
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    """Drops them with all that is in them."""
    op.execute("DROP TABLE record, head")
    op.execute("DROP FUNCTION refuse_change, resource_ids")
