"""Tables of the schema `user`, as the newest migration leaves them. The schema itself comes from the connection's search path."""

from sqlalchemy import Column, DateTime, FetchedValue, MetaData, Table, Text, Uuid

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
