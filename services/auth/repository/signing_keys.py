"""Signing keys, sealed. A key signs from `activate_time` on, until `retire_time`; the newest has no end yet."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval, Text, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.keys import KeyRecord, KeyRing, Seal, SigningKey
from services.auth.tables import signing_key

_AHEAD = func.now() + bindparam("ahead", type_=Interval)
_INSERT_FIRST = upsert(signing_key).on_conflict_do_nothing()
_INSERT_NEXT = insert(signing_key).values(activate_time=_AHEAD)
_KEYS = (
    select(signing_key, func.extract("epoch", signing_key.c.activate_time - func.now()).label("starts_in_s"))
    .where(signing_key.c.revoke_time.is_(None))
    .where(signing_key.c.retire_time.is_(None) | (signing_key.c.retire_time > func.now() - bindparam("grace", type_=Interval)))
    .order_by(signing_key.c.retire_time.desc().nulls_first())
)
_RECORD = select(signing_key).where(signing_key.c.kid == bindparam("wanted", type_=Text))
_NEWEST_IS_OLDER = select(
    select(signing_key.c.kid)
    .where(signing_key.c.retire_time.is_(None), signing_key.c.activate_time <= func.now() - bindparam("age", type_=Interval))
    .exists()
)
_RETIRE = update(signing_key).where(signing_key.c.retire_time.is_(None)).values(retire_time=_AHEAD)
_REVOKE = update(signing_key).where(signing_key.c.revoke_time.is_(None)).values(revoke_time=func.now())
# Rotations come one after the other; readers and signers do not mind.
_LOCK = text("LOCK TABLE signing_key IN SHARE ROW EXCLUSIVE MODE")


class SigningKeys:
    """Signing keys in PostgreSQL. Each method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def key_ring(self, seal: Seal, access_ttl_s: int) -> KeyRing:
        """The keys that sign and verify; makes the first one when there is none. Processes that start together agree on it.

        Retired keys stay for the life of the tokens that they signed. Raises SealError when the master key is not the one of old.
        """
        async with self._engine.begin() as connection:
            rows = await _rows(connection, access_ttl_s)
            if not any(row.retire_time is None for row in rows):
                key = SigningKey.generate()
                await connection.execute(_INSERT_FIRST, {"kid": key.kid, "sealed_key": key.sealed(seal)})
                rows = await _rows(connection, access_ttl_s)
        now = time.monotonic()
        return KeyRing([SigningKey.unseal(row.sealed_key, row.kid, seal, now + float(row.starts_in_s)) for row in rows])

    async def records(self, access_ttl_s: int) -> list[KeyRecord]:
        """What may be shown of the keys that sign and verify, newest first."""
        async with self._engine.connect() as connection:
            return [_record(row) for row in await _rows(connection, access_ttl_s)]

    async def rotate(self, key: SigningKey, seal: Seal, ahead_s: float, min_age_s: float = 0) -> KeyRecord | None:
        """Makes `key` the newest: it signs in `ahead_s`, and until then the one before it does.

        None, and no change, when the newest key has signed for less than `min_age_s`.
        """
        async with self._engine.begin() as connection:
            await connection.execute(_LOCK)
            if not (await connection.execute(_NEWEST_IS_OLDER, {"age": timedelta(seconds=min_age_s)})).scalar_one():
                return None
            await connection.execute(_RETIRE, {"ahead": timedelta(seconds=ahead_s)})
            return await _insert(connection, key, seal, ahead_s)

    async def revoke_all(self, key: SigningKey, seal: Seal) -> KeyRecord:
        """Ends all keys at once; `key` signs from now on."""
        async with self._engine.begin() as connection:
            await connection.execute(_LOCK)
            await connection.execute(_REVOKE)
            await connection.execute(_RETIRE, {"ahead": timedelta()})
            return await _insert(connection, key, seal, 0)


async def _rows(connection: AsyncConnection, access_ttl_s: int) -> Sequence[Row[Any]]:
    return (await connection.execute(_KEYS, {"grace": timedelta(seconds=access_ttl_s)})).all()


async def _insert(connection: AsyncConnection, key: SigningKey, seal: Seal, ahead_s: float) -> KeyRecord:
    values = {"kid": key.kid, "sealed_key": key.sealed(seal), "ahead": timedelta(seconds=ahead_s)}
    await connection.execute(_INSERT_NEXT, values)
    return _record((await connection.execute(_RECORD, {"wanted": key.kid})).one())


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(row.kid, row.create_time, row.activate_time, row.retire_time)
