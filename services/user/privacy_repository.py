"""All SQL about consents and deletions. Times are the database's clock; each method is one transaction."""

import datetime as dt
from collections.abc import Collection
from typing import Any

import asyncpg
import orjson

from mesh.personal_data import DELETION_REQUESTED
from services.user.privacy import ROUNDS, Consent, Deletion

_CONSENT = "id::text, document, version, is_granted, source_address, create_time"
_NO_CONSENT_BEFORE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_LAST_USER = _NO_CONSENT_BEFORE

_LATEST = f"SELECT {_CONSENT} FROM consent WHERE user_id = $1 AND document = $2 ORDER BY id DESC LIMIT 1"  # noqa: S608 - constants
_ADD_CONSENT = f"""
INSERT INTO consent (user_id, document, version, is_granted, source_address) VALUES ($1, $2, $3, $4, $5) RETURNING {_CONSENT}
"""  # noqa: S608
_CONSENTS = f"SELECT {_CONSENT} FROM consent WHERE user_id = $1 AND id < $2::uuid ORDER BY id DESC LIMIT $3"  # noqa: S608
# Two who record the same at the same moment make one record.
_LOCK_USER = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"

_DELETION = """
SELECT d.user_id::text, d.round, d.request_time, d.complete_time, array(
    SELECT service FROM deletion_answer a WHERE a.user_id = d.user_id AND a.round = d.round
) AS erased_by FROM deletion d
"""
_ONE_DELETION = f"{_DELETION} WHERE d.user_id = $1"
_DELETIONS = f"""{_DELETION}
WHERE (d.request_time, d.user_id) < (coalesce($1, 'infinity'::timestamptz), $2::uuid) ORDER BY d.request_time DESC, d.user_id DESC LIMIT $3
"""
_REQUEST = "INSERT INTO deletion (user_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING user_id::text"
_ANSWER = """
INSERT INTO deletion_answer (user_id, round, service) SELECT user_id, $2, $3 FROM deletion WHERE user_id = $1 ON CONFLICT DO NOTHING
"""
_COMPLETE = """
UPDATE deletion d SET complete_time = now() WHERE user_id = $1 AND round = $2 AND complete_time IS NULL AND $3::text[] <@ array(
    SELECT service FROM deletion_answer a WHERE a.user_id = d.user_id AND a.round = d.round
)
"""
_NEXT_ROUND = """
UPDATE deletion d SET round = round + 1, ask_time = now()
WHERE round < $1 AND complete_time IS NULL AND request_time < now() - $2::interval
    AND $3::text[] <@ array(SELECT service FROM deletion_answer a WHERE a.user_id = d.user_id AND a.round = d.round)
RETURNING user_id::text, round
"""
# Where answers are missing: the question, or the answer, was lost with the bus, or a service was away for long.
_ASK_AGAIN = """
UPDATE deletion SET ask_time = now() WHERE complete_time IS NULL AND ask_time < now() - $1::interval RETURNING user_id::text, round
"""
_POST = "INSERT INTO outbox (subject, body) VALUES ($1, $2)"
_EVERYTHING = "SELECT * FROM {} WHERE {} = $1 ORDER BY 1"
_ERASE = ("DELETE FROM profile WHERE id = $1", "DELETE FROM consent WHERE user_id = $1")


class PrivacyRepository:
    """Consents and deletions in PostgreSQL. `services` are those that must answer a deletion."""

    def __init__(self, pool: "asyncpg.Pool[Any]", services: Collection[str]) -> None:
        self._pool = pool
        self.services = sorted(services)

    async def record(self, user_id: str, document: str, version: str, source_address: str, *, is_granted: bool) -> Consent:
        """Records a consent; the latest one when it says the same."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_LOCK_USER, user_id)
            row = await connection.fetchrow(_LATEST, user_id, document)
            if row is None or (row["version"], row["is_granted"]) != (version, is_granted):
                [row] = await connection.fetch(_ADD_CONSENT, user_id, document, version, is_granted, source_address)
        return Consent(*row)

    async def consents(self, user_id: str, before: str | None, limit: int) -> list[Consent]:
        """What somebody said, newest first, before the one with this id."""
        return [Consent(*row) for row in await self._pool.fetch(_CONSENTS, user_id, before or _NO_CONSENT_BEFORE, limit)]

    async def request(self, user_id: str) -> Deletion:
        """Requests a deletion and posts the event; the one under way when there is one."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(_REQUEST, user_id):
                await connection.execute(_POST, DELETION_REQUESTED, _event(user_id, 1))
            [row] = await connection.fetch(_ONE_DELETION, user_id)
        return _deletion(row)

    async def deletions(self, before: tuple[dt.datetime, str] | None, limit: int) -> list[Deletion]:
        """Deletions, newest first, after this one."""
        return [_deletion(row) for row in await self._pool.fetch(_DELETIONS, *(before or (None, _LAST_USER)), limit)]

    async def answered(self, user_id: str, number: int, service: str) -> None:
        """A service has erased what it held; with the last answer of the last round the deletion is complete. Repeating it is safe."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_ANSWER, user_id, number, service)
            if number == ROUNDS:
                await connection.execute(_COMPLETE, user_id, number, self.services)

    async def ask_again(self, after: dt.timedelta, patience: dt.timedelta) -> int:
        """Starts the next round where all have answered and the request is older than `after`, and asks once more where somebody has not
        answered for `patience`; how many events were posted.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_NEXT_ROUND, ROUNDS, after, self.services)
            rows += await connection.fetch(_ASK_AGAIN, patience)
            for row in rows:
                await connection.execute(_POST, DELETION_REQUESTED, _event(row["user_id"], row["round"]))
        return len(rows)

    async def everything(self, user_id: str) -> dict[str, list[dict[str, Any]]]:
        """The rows of each kind of thing that is the user's."""
        tables = (("profile", "id"), ("consent", "user_id"))
        return {table: [dict(row) for row in await self._pool.fetch(_EVERYTHING.format(table, key), user_id)] for table, key in tables}

    async def erase(self, user_id: str) -> None:
        """Deletes all that is the user's. That a deletion was asked for stays: only the id is known of it."""
        async with self._pool.acquire() as connection, connection.transaction():
            for statement in _ERASE:
                await connection.execute(statement, user_id)


def _event(user_id: str, number: int) -> str:
    return orjson.dumps({"user_id": user_id, "round": number}).decode()


def _deletion(row: Any) -> Deletion:
    return Deletion(row["user_id"], row["round"], row["request_time"], row["complete_time"], frozenset(row["erased_by"]))
