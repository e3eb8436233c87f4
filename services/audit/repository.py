"""All SQL of the audit service."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from mesh.connections import BULK_TIMEOUT_S
from services.audit.ledger import Entry, Mark, linked

_PAGE = 1000
_FORGOTTEN_AT_ONCE = 10_000

# The record that says up to which seq the log has forgotten.
Note = Callable[[int], str]

_LOCK_HEAD = "SELECT seq, hash FROM head FOR UPDATE"
_HEAD = "SELECT seq, hash, cut_seq, cut_hash FROM head"
_KNOWN = "SELECT id::text FROM record WHERE id = ANY($1::text[]::uuid[])"
_INSERT = "INSERT INTO record (seq, hash, body) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[])"
_MOVE_HEAD = "UPDATE head SET seq = $1, hash = $2"
_NEXT = """
SELECT seq, hash, body FROM record WHERE seq > $1 AND seq <= $2 AND time_us >= $3 AND time_us < $4 ORDER BY seq LIMIT $5
"""
# Each part goes along an index of its own; all at once would read everything of the person for every page.
_PART = "(SELECT seq, hash, body FROM record WHERE {} AND seq > $2 ORDER BY seq LIMIT $3)"
_PARTS = " UNION ".join(map(_PART.format, ("actor_id = $1", "user_id = $1", "resource_ids @> ARRAY[$1]")))
_OF_PERSON = f"{_PARTS} ORDER BY seq LIMIT $3"
# The first record that stays; all of them are older when there is none. Not too many at once: who appends waits meanwhile.
_CUT = """
SELECT least(coalesce((SELECT min(seq) FROM record WHERE time_us >= $1), (SELECT seq + 1 FROM head)) - 1, (SELECT cut_seq + $2 FROM head))
"""
_MOVE_CUT = """
UPDATE head SET cut_seq = r.seq, cut_hash = r.hash FROM record r WHERE r.seq = $1 AND head.cut_seq < $1 RETURNING head.cut_seq
"""
_FORGET = "DELETE FROM record WHERE seq <= $1"

_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_LAST_US = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """What to look for; an empty text or None narrows nothing. Times are bounds, the later one excluded."""

    actor_id: str = ""
    user_id: str = ""
    resource_id: str = ""
    method: str = ""
    code: str = ""
    start: dt.datetime | None = None
    end: dt.datetime | None = None


class Repository:
    """The log in PostgreSQL. Each method that changes something is one transaction."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def append(self, bodies: Sequence[str]) -> Mark:
        """Appends records that are not there yet, in this order; the newest record after that. Repeating it changes nothing."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await _append(connection, bodies)

    async def marks(self) -> tuple[Mark, Mark]:
        """The place before the first record that is kept, and the newest record."""
        [row] = await self._pool.fetch(_HEAD)
        return Mark(row["cut_seq"], row["cut_hash"]), Mark(row["seq"], row["hash"])

    async def find(self, wanted: Filter, before_seq: int | None, limit: int) -> list[Entry]:
        """Records that the filter lets through, newest first, before the one with this seq."""
        conditions, values = _conditions(wanted)
        if before_seq is not None:
            values.append(before_seq)
            conditions.append(f"seq < ${len(values)}")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        values.append(limit)
        statement = f"SELECT seq, hash, body FROM record {where} ORDER BY seq DESC LIMIT ${len(values)}"  # noqa: S608 - constants
        return [Entry(*row) for row in await self._pool.fetch(statement, *values)]

    async def pages(
        self, after_seq: int, to_seq: int, start: dt.datetime | None = None, end: dt.datetime | None = None
    ) -> AsyncIterator[list[Entry]]:
        """Records of a span, oldest first, page by page."""
        start_us, end_us = _micros(start) if start else 0, _micros(end) if end else _LAST_US
        while page := [Entry(*row) for row in await self._pool.fetch(_NEXT, after_seq, to_seq, start_us, end_us, _PAGE)]:
            yield page
            after_seq = page[-1].seq

    async def pages_of(self, person_id: str) -> AsyncIterator[list[Entry]]:
        """What somebody did, what was done as them, and what was done to their account, oldest first, page by page."""
        after_seq = 0
        while page := [Entry(*row) for row in await self._pool.fetch(_OF_PERSON, person_id, after_seq, _PAGE)]:
            yield page
            after_seq = page[-1].seq

    async def forget_before(self, horizon: dt.datetime, note: Note) -> int:
        """Forgets a batch of the oldest records, up to the first that is not older, and notes that in the log; the seq of the last one that
        went, 0 for none.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetchrow(_LOCK_HEAD)
            cut = await connection.fetchval(_CUT, _micros(horizon), _FORGOTTEN_AT_ONCE, timeout=BULK_TIMEOUT_S)
            if await connection.fetchval(_MOVE_CUT, cut) is None:
                return 0
            await connection.execute("SET LOCAL audit.retention = 'on'")
            await connection.execute(_FORGET, cut, timeout=BULK_TIMEOUT_S)
            await _append(connection, [note(int(cut))])
        return int(cut)


async def _append(connection: Any, bodies: Sequence[str]) -> Mark:
    """As a part of somebody's transaction."""
    by_id = {orjson.loads(body)["id"]: body for body in bodies}
    # Held until the commit: the log has one end, whoever writes to it.
    [row] = await connection.fetch(_LOCK_HEAD)
    mark = Mark(row["seq"], row["hash"])
    known = {row["id"] for row in await connection.fetch(_KNOWN, list(by_id))}
    entries = linked(mark, [body for record_id, body in by_id.items() if record_id not in known])
    if not entries:
        return mark
    await connection.execute(
        _INSERT, [entry.seq for entry in entries], [entry.hash for entry in entries], [entry.body for entry in entries]
    )
    await connection.execute(_MOVE_HEAD, entries[-1].seq, entries[-1].hash)
    return Mark(entries[-1].seq, entries[-1].hash)


def _conditions(wanted: Filter) -> tuple[list[str], list[Any]]:
    """Only what is asked for: a plan for all filters at once would use the index of none."""
    columns: tuple[tuple[str, Any], ...] = (
        ("actor_id =", wanted.actor_id),
        ("user_id =", wanted.user_id),
        ("resource_ids @>", [wanted.resource_id] if wanted.resource_id else None),
        ("method =", wanted.method),
        ("code =", wanted.code),
        ("time_us >=", _micros(wanted.start) if wanted.start else None),
        ("time_us <", _micros(wanted.end) if wanted.end else None),
    )
    asked = [(condition, value) for condition, value in columns if value not in ("", None)]
    return [f"{condition} ${n}" for n, (condition, _) in enumerate(asked, start=1)], [value for _, value in asked]


def _micros(time: dt.datetime) -> int:
    return (time - _EPOCH) // dt.timedelta(microseconds=1)
