"""All SQL of the graph service. Everything is scoped by owner; times are the database's clock; each method is one transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import RequestIdReusedError
from mesh.http.responses import is_current
from mesh.ids import canonical_uuid, uuid7
from services.graph.errors import GraphChangedError, graph_not_found
from services.graph.head_repository import Heads
from services.graph.hot import HotRead
from services.graph.tables import draft, graph, graph_version
from services.graph.versions import Head, Prepared

_HEAD = select(
    graph.c.id,
    graph_version.c.version,
    (graph.c.active_version == graph_version.c.version).label("is_active"),
    graph_version.c.name,
    graph_version.c.description,
    graph_version.c.instructions,
    graph_version.c.input_schema,
    graph_version.c.output_schema,
    graph_version.c.create_time,
    graph.c.update_time,
).join_from(graph, graph_version, graph.c.id == graph_version.c.graph_id)
_IS_ACTIVE: ColumnElement[bool] = graph.c.active_version == graph_version.c.version
_MINE = graph.c.owner_id == bindparam("owner_id")
_ONE = _HEAD.where(graph.c.id == bindparam("id"), _MINE)
_ACTIVE = _ONE.where(_IS_ACTIVE)
_EXACT = _ONE.where(graph_version.c.version == bindparam("version"))
_LIST = _HEAD.where(_MINE, _IS_ACTIVE).order_by(graph.c.update_time.desc(), graph.c.id.desc()).limit(bindparam("limit"))
_LIST_AFTER = _LIST.where(tuple_(graph.c.update_time, graph.c.id) < tuple_(bindparam("update_time"), bindparam("last_id")))
_VERSIONS = _ONE.where(graph_version.c.version < bindparam("below")).order_by(graph_version.c.version.desc()).limit(bindparam("limit"))
_DOCUMENT = select(graph_version.c.document).where(
    graph_version.c.graph_id == bindparam("id"),
    graph_version.c.version == bindparam("version"),
    graph_version.c.owner_id == bindparam("owner_id"),
)
_NEWEST = _ONE.add_columns(graph_version.c.document).where(graph_version.c.version == graph.c.latest_version)
_HOT_DOCUMENT = HotRead(_DOCUMENT)
_INSERT_GRAPH = (
    upsert(graph).values(active_version=1, latest_version=1).on_conflict_do_nothing(index_elements=["owner_id", "request_id"])
).returning(graph.c.id)
_INSERT_VERSION = insert(graph_version)
_BY_REQUEST = select(graph.c.id, graph.c.request_hash).where(_MINE, graph.c.request_id == bindparam("request_id"))
# In an update, names of columns belong to the values.
_TARGET = (graph.c.id == bindparam("target"), graph.c.owner_id == bindparam("owner"))
# Taken alone and first: a join that waits for a lock would find the row that it joined on changed, and nothing at all.
_LOCK = select(graph.c.id).where(*_TARGET).with_for_update()
_NEXT = graph.c.latest_version + 1
_NEW_VERSION = (
    update(graph)
    .where(*_TARGET)
    .values(latest_version=_NEXT, active_version=_NEXT, update_time=func.clock_timestamp())
    .returning(graph.c.latest_version)
)
_ACTIVATE = update(graph).where(*_TARGET).values(active_version=bindparam("active"), update_time=func.clock_timestamp())
_DELETE = delete(graph).where(*_TARGET).returning(graph.c.id)
_DELETE_DRAFT = delete(draft).where(draft.c.graph_id == bindparam("target"), draft.c.owner_id == bindparam("owner"))
# Above every version.
_TOP = (1 << 31) - 1


class Repository:
    """Graphs in PostgreSQL. What belongs to somebody else is not found."""

    def __init__(self, database: Database) -> None:
        self._pool = database.pool
        self._heads = Heads(database.pool)
        self._engine = database.engine
        # A lone read needs no transaction around it: one round trip instead of three.
        self._reads = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def create(self, owner_id: str, made: Prepared, request_id: str = "", request_hash: str = "") -> Head:
        """Saves version 1 and makes it active. The same `request_id` with the same hash returns the graph of the first call.

        Raises RequestIdReusedError when the hash differs.
        """
        values = {"owner_id": owner_id, "request_id": request_id or None, "request_hash": request_hash}
        async with self._engine.begin() as connection:
            graph_id = (await connection.execute(_INSERT_GRAPH, {"id": UUID(uuid7()), **values})).scalar_one_or_none()
            if graph_id is None:
                first = (await connection.execute(_BY_REQUEST, values)).one()
                if first.request_hash != request_hash:
                    raise RequestIdReusedError(request_id)
                return await _head(connection, _EXACT, owner_id, str(first.id), 1)
            return await insert_version(connection, owner_id, graph_id, 1, made)

    async def update(self, owner_id: str, graph_id: str, made: Prepared, if_match: str = "") -> Head:
        """Saves the next version and makes it active. Raises NotFoundError, and GraphChangedError when the etag is another now."""
        async with self._engine.begin() as connection:
            await connection.execute(_LOCK, {"target": _key(graph_id), "owner": owner_id})
            now = await _head(connection, _ACTIVE, owner_id, graph_id)
            if if_match and not is_current(now.etag, if_match):
                raise GraphChangedError("The graph has changed since it was read.", metadata={"graph_id": graph_id})
            return await next_version(connection, owner_id, UUID(now.id), made)

    async def activate(self, owner_id: str, graph_id: str, version: int) -> Head:
        """Makes a version the active one. Changes nothing when it is already. Raises NotFoundError."""
        async with self._engine.begin() as connection:
            await connection.execute(_LOCK, {"target": _key(graph_id, version), "owner": owner_id})
            now = await _head(connection, _EXACT, owner_id, graph_id, version)
            if now.is_active:
                return now
            await connection.execute(_ACTIVATE, {"target": UUID(now.id), "owner": owner_id, "active": version})
            return await _head(connection, _EXACT, owner_id, graph_id, version)

    async def delete(self, owner_id: str, graph_id: str) -> None:
        """Deletes a graph with all its versions and its draft. Raises NotFoundError."""
        async with self._engine.begin() as connection:
            values = {"target": _key(graph_id), "owner": owner_id}
            if (await connection.execute(_DELETE, values)).scalar_one_or_none() is None:
                raise graph_not_found(graph_id)
            await connection.execute(_DELETE_DRAFT, values)

    async def head(self, owner_id: str, graph_id: str, version: int = 0) -> Head:
        """A version, the active one for 0. Raises NotFoundError."""
        found = await self._heads.get(_key(graph_id, version), owner_id, version)
        if found is None:
            raise graph_not_found(graph_id, version)
        return found

    async def newest(self, owner_id: str, graph_id: str) -> tuple[Head, str] | None:
        """The newest version with its document, whichever is active; None when there is no such graph."""
        text = canonical_uuid(graph_id)
        values = {"id": UUID(text) if text else None, "owner_id": owner_id}
        async with self._reads.connect() as connection:
            row = (await connection.execute(_NEWEST, values)).mappings().one_or_none()
        if row is None:
            return None
        parts = dict(row)
        document = parts.pop("document")
        return _to_head(parts), document

    async def document(self, owner_id: str, graph_id: str, version: int) -> str:
        """JSON text of a version; it never changes. Raises NotFoundError."""
        values = {"id": _key(graph_id, version), "owner_id": owner_id, "version": version}
        row = await _HOT_DOCUMENT.one(self._pool, values)
        if row is None:
            raise graph_not_found(graph_id, version)
        return str(row["document"])

    async def graphs(self, owner_id: str, limit: int, after: tuple[datetime, str] | None = None) -> list[Head]:
        """Active versions, last changed first. `after` is the update time and id of the last one seen."""
        values: dict[str, Any] = {"owner_id": owner_id, "limit": limit}
        if after is not None:
            values |= {"update_time": after[0], "last_id": UUID(after[1])}
        async with self._reads.connect() as connection:
            rows = await connection.execute(_LIST if after is None else _LIST_AFTER, values)
        return [_to_head(row) for row in rows.mappings()]

    async def versions(self, owner_id: str, graph_id: str, limit: int, below: int = _TOP) -> list[Head]:
        """Versions below one, newest first. Empty when there is no such graph."""
        values = {"id": _key(graph_id), "owner_id": owner_id, "limit": limit, "below": below}
        async with self._reads.connect() as connection:
            rows = await connection.execute(_VERSIONS, values)
        return [_to_head(row) for row in rows.mappings()]


async def next_version(connection: AsyncConnection, owner_id: str, graph_id: UUID, made: Prepared) -> Head:
    """Saves the next version of a graph that is there and locked, and makes it active."""
    found = await connection.execute(_NEW_VERSION, {"target": graph_id, "owner": owner_id})
    return await insert_version(connection, owner_id, graph_id, int(found.scalar_one()), made)


async def insert_version(connection: AsyncConnection, owner_id: str, graph_id: UUID, version: int, made: Prepared) -> Head:
    """Saves a version that the row of the graph speaks of already."""
    await connection.execute(_INSERT_VERSION, _version_values(owner_id, graph_id, version, made))
    return await _head(connection, _EXACT, owner_id, str(graph_id), version)


async def _head(connection: AsyncConnection, statement: Select[Any], owner_id: str, graph_id: str, version: int = 0) -> Head:
    values: dict[str, Any] = {"id": _key(graph_id, version), "owner_id": owner_id}
    if version:
        values["version"] = version
    row = (await connection.execute(statement, values)).mappings().one_or_none()
    if row is None:
        raise graph_not_found(graph_id, version)
    return _to_head(row)


def _key(graph_id: str, version: int = 0) -> UUID:
    """The id as the database takes it. What is no UUID is nobody's id."""
    text = canonical_uuid(graph_id)
    if text is None:
        raise graph_not_found(graph_id, version)
    return UUID(text)


def _version_values(owner_id: str, graph_id: UUID, version: int, made: Prepared) -> dict[str, Any]:
    return {
        "graph_id": graph_id,
        "version": version,
        "owner_id": owner_id,
        "name": made.graph.name,
        "description": made.graph.description,
        "instructions": made.graph.instructions,
        "document": made.document,
        "input_schema": made.input_schema,
        "output_schema": made.output_schema,
    }


def _to_head(row: Mapping[Any, Any]) -> Head:
    return Head(**{**row, "id": str(row["id"])})
