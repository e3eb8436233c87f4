"""Tables of the schema `user`, as the newest migration leaves them. The schema itself comes from the connection's search path."""

from sqlalchemy import Boolean, Column, DateTime, FetchedValue, ForeignKey, Integer, MetaData, Table, Text, Uuid

metadata = MetaData()

profile = Table(
    "profile",
    metadata,
    # The id of the account, so it is the owner too.
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("timezone", Text, nullable=False, server_default=FetchedValue()),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
)

# What somebody said about a version of a document, each time.
consent = Table(
    "consent",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("user_id", Uuid, nullable=False),
    Column("document", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("is_granted", Boolean, nullable=False),
    Column("source_address", Text, nullable=False, server_default=FetchedValue()),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
)

# Accounts that are deleted, or on the way to it; stays, so that nothing comes to life again.
deletion = Table(
    "deletion",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    # The second asks again, when no access token of the account is good any more.
    Column("round", Integer, nullable=False, server_default=FetchedValue()),
    Column("request_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    # When the services were last asked.
    Column("ask_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("complete_time", DateTime(timezone=True)),
)

deletion_answer = Table(
    "deletion_answer",
    metadata,
    Column("user_id", Uuid, ForeignKey("deletion.user_id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("answer_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
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
