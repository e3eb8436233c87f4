"""Signing keys, sealed."""

from datetime import timedelta

from sqlalchemy import Interval, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.keys import KeyRing, Seal, SigningKey
from services.auth.tables import signing_key

_INSERT_KEY = upsert(signing_key).on_conflict_do_nothing()
_KEYS = (
    select(signing_key)
    .where(signing_key.c.retire_time.is_(None) | (signing_key.c.retire_time > func.now() - bindparam("grace", type_=Interval)))
    .order_by(signing_key.c.retire_time.desc().nulls_first())
)


class SigningKeys:
    """Signing keys in PostgreSQL. Each method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def key_ring(self, seal: Seal, access_ttl_s: int) -> KeyRing:
        """The keys that sign and verify; makes the first one when there is none. Processes that start together agree on it.

        Retired keys stay for the life of the tokens that they signed. Raises SealError when the master key is not the one of old.
        """
        grace = {"grace": timedelta(seconds=access_ttl_s)}
        async with self._engine.begin() as connection:
            rows = (await connection.execute(_KEYS, grace)).all()
            if not any(row.retire_time is None for row in rows):
                key = SigningKey.generate()
                await connection.execute(_INSERT_KEY, {"kid": key.kid, "sealed_key": key.sealed(seal)})
                rows = (await connection.execute(_KEYS, grace)).all()
        return KeyRing([SigningKey.unseal(row.sealed_key, row.kid, seal) for row in rows])
