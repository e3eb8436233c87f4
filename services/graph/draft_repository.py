"""All SQL about drafts. Everything is scoped by owner; times are the database's clock; each method is one transaction.

Who locks both the row of a graph and that of its draft, locks the graph first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Select, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import RequestIdReusedError
from mesh.ids import canonical_uuid, uuid7
from services.graph.drafts import Condition, Content, Draft, OutdatedError, StaleError
from services.graph.errors import base_version_invalid, draft_not_found, graph_not_found
from services.graph.repository import insert_version, next_version
from services.graph.tables import draft, graph
from services.graph.validation import Problem
from services.graph.versions import Head, Prepared

# In an update, names of columns belong to the values.
_TARGET = (draft.c.graph_id == bindparam("target"), draft.c.owner_id == bindparam("owner"))
_HEAD = select(
    draft.c.graph_id,
    draft.c.base_version,
    draft.c.revision,
    draft.c.name,
    draft.c.description,
    draft.c.instructions,
    draft.c.problem_count,
    draft.c.create_time,
    draft.c.update_time,
)
_WHOLE = _HEAD.add_columns(draft.c.document, draft.c.input_schema, draft.c.output_schema, draft.c.problems)
_GET = _WHOLE.where(*_TARGET)
_LOCK = _HEAD.where(*_TARGET).with_for_update()
_BY_REQUEST = _WHOLE.add_columns(draft.c.request_hash).where(
    draft.c.owner_id == bindparam("owner"), draft.c.request_id == bindparam("request")
)
_LIST = (
    _HEAD.where(draft.c.owner_id == bindparam("owner"))
    .order_by(draft.c.update_time.desc(), draft.c.graph_id.desc())
    .limit(bindparam("limit"))
)
_LIST_AFTER = _LIST.where(tuple_(draft.c.update_time, draft.c.graph_id) < tuple_(bindparam("last_time"), bindparam("last_id")))
# Without a target: of two first saves at once, or two calls with one request id, one inserts and the other finds what is there.
_INSERT = upsert(draft).on_conflict_do_nothing().returning(draft.c.create_time, draft.c.update_time)
_UPDATE = update(draft).where(*_TARGET).values(update_time=func.clock_timestamp()).returning(draft.c.create_time, draft.c.update_time)
_UPDATE_PROBLEMS = update(draft).where(*_TARGET, draft.c.problems != bindparam("found"))
_DELETE = delete(draft).where(*_TARGET)
_TAKE = _DELETE.where(draft.c.revision == bindparam("taken"), draft.c.base_version == bindparam("base")).returning(draft.c.graph_id)
_LATEST = select(graph.c.latest_version).where(graph.c.id == bindparam("target"), graph.c.owner_id == bindparam("owner"))
_INSERT_GRAPH = insert(graph).values(active_version=1, latest_version=1)
_PROBLEMS = msgspec.json.Decoder(tuple[Problem, ...])


@dataclass(frozen=True, slots=True)
class _Save:
    """A draft on its way in. `base_version` is 0 when the caller says none."""

    owner_id: str
    key: UUID
    content: Content
    base_version: int
    condition: Condition

    @property
    def target(self) -> dict[str, Any]:
        return {"target": self.key, "owner": self.owner_id}


class DraftRepository:
    """Drafts in PostgreSQL. What belongs to somebody else is not found."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        # A lone read needs no transaction around it.
        self._reads = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def create(self, owner_id: str, content: Content, request_id: str = "", request_hash: str = "") -> Draft:
        """Saves the draft of a new graph. The same `request_id` with the same hash returns the draft of the first call.

        Raises RequestIdReusedError when the hash differs.
        """
        asked = {"request_id": request_id or None, "request_hash": request_hash}
        own = {"owner_id": owner_id, "graph_id": UUID(uuid7()), "base_version": 0, **asked}
        async with self._engine.begin() as connection:
            made = await _insert(connection, own, content)
            if made is not None:
                return made
            row = (await connection.execute(_BY_REQUEST, {"owner": owner_id, "request": request_id})).mappings().one()
            first = dict(row)
            if first.pop("request_hash") != request_hash:
                raise RequestIdReusedError(request_id)
            return _to_draft(first)

    async def get(self, owner_id: str, graph_id: str) -> Draft | None:
        """The draft of a graph."""
        async with self._reads.connect() as connection:
            return await _find(connection, _GET, owner_id, canonical_uuid(graph_id))

    async def drafts(self, owner_id: str, limit: int, after: tuple[datetime, str] | None = None) -> list[Draft]:
        """Drafts without what is large, last changed first. `after` is the update time and graph id of the last one seen."""
        values: dict[str, Any] = {"owner": owner_id, "limit": limit}
        if after is not None:
            values |= {"last_time": after[0], "last_id": UUID(after[1])}
        async with self._reads.connect() as connection:
            rows = await connection.execute(_LIST if after is None else _LIST_AFTER, values)
        return [_to_draft(row) for row in rows.mappings()]

    async def save(self, owner_id: str, graph_id: str, content: Content, base_version: int, condition: Condition) -> Draft:
        """Replaces the draft of a graph, or makes the first one. What is there already is not written once more.

        Raises NotFoundError, InvalidArgumentError (BASE_VERSION_INVALID), StaleError.
        """
        key = canonical_uuid(graph_id)
        if key is None:
            raise graph_not_found(graph_id)
        save = _Save(owner_id, UUID(key), content, base_version, condition)
        async with self._engine.begin() as connection:
            stored = await _find(connection, _LOCK, owner_id, key)
            if stored is None and await _latest(connection, owner_id, key, is_shared=True) is None:
                raise graph_not_found(graph_id)
            if stored is None:
                made = await _first(connection, save)
                if made is not None:
                    return made
                # Somebody was faster.
                stored = await _find(connection, _LOCK, owner_id, key)
                if stored is None:
                    raise StaleError(None)
            return await _replace(connection, save, stored)

    async def delete(self, owner_id: str, graph_id: str, condition: Condition) -> None:
        """Deletes a draft. Raises NotFoundError, StaleError."""
        async with self._engine.begin() as connection:
            stored = await _find(connection, _LOCK, owner_id, canonical_uuid(graph_id))
            if stored is None:
                raise draft_not_found(graph_id)
            if not condition.holds(stored.etag):
                raise StaleError(await _find(connection, _GET, owner_id, stored.graph_id))
            await connection.execute(_DELETE, {"target": UUID(stored.graph_id), "owner": owner_id})

    async def publish(self, owner_id: str, published: Draft, made: Prepared) -> Head:
        """Makes a draft, which was read before, the next version of its graph, and ends it.

        Raises StaleError when it is another by now, OutdatedError when its base is not the newest version.
        """
        key = UUID(published.graph_id)
        values = {"target": key, "owner": owner_id, "taken": published.revision, "base": published.base_version}
        async with self._engine.begin() as connection:
            latest = await _latest(connection, owner_id, published.graph_id)
            if (await connection.execute(_TAKE, values)).scalar_one_or_none() is None:
                raise StaleError(await _find(connection, _GET, owner_id, published.graph_id))
            if (latest or 0) != published.base_version:
                raise OutdatedError
            if latest is None:
                await connection.execute(_INSERT_GRAPH, {"id": key, "owner_id": owner_id})
                return await insert_version(connection, owner_id, key, 1, made)
            return await next_version(connection, owner_id, key, made)


async def _find(connection: AsyncConnection, statement: Select[Any], owner_id: str, key: str | None) -> Draft | None:
    if key is None:
        return None
    row = (await connection.execute(statement, {"target": UUID(key), "owner": owner_id})).mappings().one_or_none()
    return None if row is None else _to_draft(row)


async def _latest(connection: AsyncConnection, owner_id: str, key: str, *, is_shared: bool = False) -> int | None:
    """The newest version of a graph, which is locked from now on: `is_shared` lets others save drafts of it at the same time."""
    statement = _LATEST.with_for_update(read=is_shared)
    found: int | None = (await connection.execute(statement, {"target": UUID(key), "owner": owner_id})).scalar_one_or_none()
    return found


async def _first(connection: AsyncConnection, save: _Save) -> Draft | None:
    """The first draft of a graph that has versions; None when somebody else makes one at the same time."""
    latest = (await connection.execute(_LATEST, save.target)).scalar_one()
    base = _base(save.base_version or latest, latest)
    if not save.condition.holds(""):
        raise StaleError(None)
    return await _insert(connection, {"owner_id": save.owner_id, "graph_id": save.key, "base_version": base}, save.content)


async def _insert(connection: AsyncConnection, own: Mapping[str, Any], content: Content) -> Draft | None:
    row = (await connection.execute(_INSERT, {**own, **_values(content)})).one_or_none()
    return None if row is None else _draft(str(own["graph_id"]), own["base_version"], content, row.create_time, row.update_time)


async def _replace(connection: AsyncConnection, save: _Save, stored: Draft) -> Draft:
    """Saves over a draft that is locked."""
    content, base = save.content, stored.base_version
    if save.base_version:
        latest = (await connection.execute(_LATEST, save.target)).scalar_one_or_none()
        base = _base(save.base_version, latest or 0)
    if (stored.revision, stored.base_version) == (content.revision, base):
        # A save whose answer was lost comes again. Only what is wrong may have changed: it depends on the blocks that are installed.
        values = {name: value for name, value in _values(content).items() if name in ("problems", "problem_count")}
        await connection.execute(_UPDATE_PROBLEMS, {**save.target, **values, "found": values["problems"]})
        return _draft(stored.graph_id, base, content, stored.create_time, stored.update_time)
    if not save.condition.holds(stored.etag):
        raise StaleError(await _find(connection, _GET, save.owner_id, stored.graph_id))
    row = (await connection.execute(_UPDATE, {**save.target, "base_version": base, **_values(content)})).one()
    return _draft(stored.graph_id, base, content, row.create_time, row.update_time)


def _base(asked: int, latest: int) -> int:
    if asked > latest:
        raise base_version_invalid(asked, latest)
    return asked


def _values(content: Content) -> dict[str, Any]:
    made = content.made
    return {
        "name": made.graph.name,
        "description": made.graph.description,
        "instructions": made.graph.instructions,
        "document": made.document,
        "revision": content.revision,
        "input_schema": made.input_schema,
        "output_schema": made.output_schema,
        "problems": msgspec.json.encode(content.problems).decode(),
        "problem_count": content.problem_count,
    }


def _draft(graph_id: str, base_version: int, content: Content, create_time: datetime, update_time: datetime) -> Draft:
    values = _values(content) | {"problems": content.problems}
    return Draft(graph_id=graph_id, base_version=base_version, create_time=create_time, update_time=update_time, **values)


def _to_draft(row: Mapping[Any, Any]) -> Draft:
    found = Draft(**{**row, "graph_id": str(row["graph_id"])})
    return replace(found, problems=_PROBLEMS.decode(found.problems)) if isinstance(found.problems, str) else found
