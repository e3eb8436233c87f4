"""Tables of the schema `auth`, as the newest migration leaves them. The schema itself comes from the connection's search path."""

from sqlalchemy import ARRAY, Column, DateTime, FetchedValue, ForeignKey, LargeBinary, MetaData, Table, Text, Uuid

metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("email", Text, nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    # None of an account that only another provider signs in.
    Column("password_hash", Text),
    # Of `roles.Role`; always with "user".
    Column("roles", ARRAY(Text), nullable=False, server_default=FetchedValue()),
    Column("email_verify_time", DateTime(timezone=True)),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
)

# The tokens that came, one by one, from the same sign-in. Ends as a whole.
refresh_family = Table(
    "refresh_family",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("account_id", Uuid, ForeignKey("account.id"), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    # When its newest token expires.
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("last_use_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("source_address", Text, nullable=False, server_default=FetchedValue()),
    Column("user_agent", Text, nullable=False, server_default=FetchedValue()),
    Column("end_time", DateTime(timezone=True)),
    Column("end_reason", Text),
)

refresh_token = Table(
    "refresh_token",
    metadata,
    # SHA-256 of the token; the token itself is kept nowhere.
    Column("digest", LargeBinary, primary_key=True),
    Column("family_id", Uuid, ForeignKey("refresh_family.id"), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("use_time", DateTime(timezone=True)),
)

signing_key = Table(
    "signing_key",
    metadata,
    Column("kid", Text, primary_key=True),
    # The private key, sealed under the master key (see `keys`).
    Column("sealed_key", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    # It signs from the one to the other, and verifies a while longer unless it was revoked.
    Column("activate_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("retire_time", DateTime(timezone=True)),
    Column("revoke_time", DateTime(timezone=True)),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("account_id", Uuid, ForeignKey("account.id"), nullable=False),
    Column("name", Text, nullable=False),
    # The part of its text by which it is found; the rest is kept as a digest only.
    Column("prefix", Text, nullable=False, unique=True),
    Column("digest", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("expire_time", DateTime(timezone=True)),
    Column("suspend_time", DateTime(timezone=True)),
    Column("last_use_time", DateTime(timezone=True)),
)

link = Table(
    "link",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("account_id", Uuid, ForeignKey("account.id"), nullable=False),
    # Of `links.Purpose`.
    Column("purpose", Text, nullable=False),
    # The address that it was mailed to; what it proves is about this one.
    Column("email", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("use_time", DateTime(timezone=True)),
)

# What is to be published on the bus, written in the transaction that it is about.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
)

# Who an account is to an OpenID Connect provider.
identity = Table(
    "identity",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("account_id", Uuid, ForeignKey("account.id"), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
)
