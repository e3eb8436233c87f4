"""All that hangs on an account."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Integer, Uuid, bindparam, delete, func, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.tables import account, api_key, identity, link, refresh_family

_OWNER = bindparam("owner", type_=Uuid)
_EVERYTHING = {
    "account": select(*(column for column in account.c if column.name != "password_hash")).where(account.c.id == _OWNER),
    "sessions": select(refresh_family).where(refresh_family.c.account_id == _OWNER).order_by(refresh_family.c.id),
    "api_keys": select(*(column for column in api_key.c if column.name != "digest"))
    .where(api_key.c.account_id == _OWNER)
    .order_by(api_key.c.id),
    "identities": select(identity).where(identity.c.account_id == _OWNER),
    "links": select(link).where(link.c.account_id == _OWNER).order_by(link.c.id),
}
_SESSION_IDS = select(refresh_family.c.id).where(refresh_family.c.account_id == _OWNER, refresh_family.c.end_time.is_(None))
_KEY_IDS = select(api_key.c.id).where(api_key.c.account_id == _OWNER)
_DELETE = delete(account).where(account.c.id == _OWNER)
_OLD = (
    select(refresh_family.c.id)
    .where(func.least(refresh_family.c.end_time, refresh_family.c.expire_time) < bindparam("horizon", type_=DateTime(timezone=True)))
    .limit(bindparam("size", type_=Integer))
)
_FORGET = delete(refresh_family).where(refresh_family.c.id.in_(_OLD))
_BATCH = 1000


class Persons:
    """Accounts with all that hangs on them. Each method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def everything(self, account_id: str) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The rows of each kind of thing that the account's holder may see."""
        async with self._engine.connect() as connection:
            return {
                name: list(map(_plain, await connection.execute(statement, {"owner": UUID(account_id)})))
                for name, statement in _EVERYTHING.items()
            }

    async def delete(self, account_id: str) -> list[str]:
        """Deletes the account and all that hangs on it; the ids of the sessions and keys that ended by that."""
        owner = {"owner": UUID(account_id)}
        async with self._engine.begin() as connection:
            ended = [*await connection.scalars(_SESSION_IDS, owner), *await connection.scalars(_KEY_IDS, owner)]
            await connection.execute(_DELETE, owner)
        return list(map(str, ended))

    async def forget_sessions(self, horizon: datetime) -> int:
        """Forgets a batch of sessions that ended before `horizon`; how many."""
        async with self._engine.begin() as connection:
            return (await connection.execute(_FORGET, {"horizon": horizon, "size": _BATCH})).rowcount


def _plain(row: Row[Any]) -> Mapping[str, Any]:
    """With names of columns that are nothing but text."""
    return {str(name): value for name, value in row._mapping.items()}
