"""Tables of the schema `audit`, as the newest migration leaves them. The schema itself comes from the connection's search path."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Computed, FetchedValue, MetaData, Table, Text, Uuid

metadata = MetaData()

# One call. All but the first three is generated from `body`, which the hash covers together with the hash of the record before.
record = Table(
    "record",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("hash", Text, nullable=False),
    # JSON text, as it came.
    Column("body", Text, nullable=False),
    Column("id", Uuid, Computed("(body::json ->> 'id')::uuid"), nullable=False, unique=True),
    Column("time_us", BigInteger, Computed("(body::json ->> 'time_us')::bigint"), nullable=False),
    Column("actor_id", Text, Computed("body::json ->> 'actor_id'"), nullable=False),
    Column("user_id", Text, Computed("body::json ->> 'user_id'"), nullable=False),
    Column("method", Text, Computed("body::json ->> 'method'"), nullable=False),
    Column("code", Text, Computed("body::json ->> 'code'"), nullable=False),
    Column("resource_ids", ARRAY(Text), Computed("resource_ids(body)"), nullable=False),
)

# One row: the newest record, and the last one that was forgotten by age.
head = Table(
    "head",
    metadata,
    Column("is_only", Boolean, primary_key=True, server_default=FetchedValue()),
    Column("seq", BigInteger, nullable=False, server_default=FetchedValue()),
    Column("hash", Text, nullable=False, server_default=FetchedValue()),
    Column("cut_seq", BigInteger, nullable=False, server_default=FetchedValue()),
    Column("cut_hash", Text, nullable=False, server_default=FetchedValue()),
)
