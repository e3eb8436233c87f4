"""Tables of the schema `graph`, as the newest migration leaves them. The schema itself comes from the connection's search path."""

from sqlalchemy import Column, DateTime, FetchedValue, Integer, MetaData, Table, Text, Uuid

metadata = MetaData()

graph = Table(
    "graph",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("active_version", Integer, nullable=False),
    # Versions are never given twice, also when newer ones are not active.
    Column("latest_version", Integer, nullable=False),
    Column("request_id", Text),
    Column("request_hash", Text),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
)

graph_version = Table(
    "graph_version",
    metadata,
    Column("graph_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("instructions", Text, nullable=False),
    # JSON text of the whole graph; text, because jsonb would reorder keys and change numbers.
    Column("document", Text, nullable=False),
    Column("input_schema", Text, nullable=False),
    Column("output_schema", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
)

draft = Table(
    "draft",
    metadata,
    Column("owner_id", Text, primary_key=True),
    # Of a graph that has no version yet, too: then nothing else knows the id.
    Column("graph_id", Uuid, primary_key=True),
    # 0 while the graph has no version.
    Column("base_version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("instructions", Text, nullable=False),
    Column("document", Text, nullable=False),
    # SHA-256 of the document.
    Column("revision", Text, nullable=False),
    Column("input_schema", Text, nullable=False),
    Column("output_schema", Text, nullable=False),
    # JSON text: the first problems, and how many there are.
    Column("problems", Text, nullable=False),
    Column("problem_count", Integer, nullable=False),
    Column("request_id", Text),
    Column("request_hash", Text),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    # In no index: so saving again stays inside the row's page. Nobody has so many drafts that sorting them takes long.
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
)
