"""API keys and their owners."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Text, Uuid, bindparam, case, delete, false, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.account import Account
from services.auth.api_key import ApiKey, KnownKey, NewApiKey
from services.auth.roles import Role
from services.auth.tables import account, api_key

# Uses closer together than this are one.
_USE_PRECISION = timedelta(minutes=1)

_OWN = (api_key.c.account_id == bindparam("owner", type_=Uuid), api_key.c.id == bindparam("wanted", type_=Uuid))
_COUNT = select(func.count()).select_from(api_key).where(api_key.c.account_id == bindparam("owner", type_=Uuid))
# Whoever makes keys at the same moment waits here, so that the limit holds.
_LOCK_OWNER = select(account.c.id).where(account.c.id == bindparam("owner", type_=Uuid)).with_for_update()
_INSERT = insert(api_key).returning(api_key)
_GET = select(api_key).where(*_OWN)
_LIST = (
    select(api_key)
    .where(api_key.c.account_id == bindparam("owner", type_=Uuid))
    .where(bindparam("before", type_=Uuid).is_(None) | (api_key.c.id < bindparam("before", type_=Uuid)))
    .order_by(api_key.c.id.desc())
    .limit(bindparam("size", type_=Integer))
)
# The first suspension counts, however often it is asked for.
_SUSPEND = (
    update(api_key)
    .where(*_OWN)
    .values(suspend_time=case((bindparam("resumed"), None), else_=func.coalesce(api_key.c.suspend_time, func.now())))
    .returning(api_key)
)
_DELETE = delete(api_key).where(*_OWN).returning(api_key.c.id)
_BY_PREFIX = (
    select(
        api_key,
        account.c.email,
        account.c.display_name,
        account.c.roles,
        (account.c.email_verify_time.is_not(None)).label("is_email_verified"),
        func.coalesce(api_key.c.expire_time <= func.now(), false()).label("is_expired"),
    )
    .select_from(api_key.join(account))
    .where(api_key.c.prefix == bindparam("shown", type_=Text))
)
_TOUCH = (
    update(api_key)
    .where(api_key.c.id == bindparam("wanted", type_=Uuid))
    .where(api_key.c.last_use_time.is_(None) | (api_key.c.last_use_time < func.now() - _USE_PRECISION))
    .values(last_use_time=func.now())
)


class ApiKeys:
    """API keys in PostgreSQL. Each method is one transaction; ids are those of UUIDs, and nobody finds what is another's."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, new: NewApiKey, limit: int) -> ApiKey | None:
        """Stores a key; None when its owner has `limit` of them already."""
        owner = {"owner": UUID(new.account_id)}
        values = {
            "account_id": UUID(new.account_id),
            "name": new.name,
            "prefix": new.prefix,
            "digest": new.digest,
            "scopes": sorted(new.scopes),
            "expire_time": new.expire_time,
        }
        async with self._engine.begin() as connection:
            await connection.execute(_LOCK_OWNER, owner)
            if (await connection.execute(_COUNT, owner)).scalar_one() >= limit:
                return None
            return _key((await connection.execute(_INSERT, values)).one())

    async def get(self, account_id: str, key_id: str) -> ApiKey | None:
        """One key of the account."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_GET, {"owner": UUID(account_id), "wanted": UUID(key_id)})).one_or_none()
        return _key(row) if row else None

    async def page(self, account_id: str, before: str | None, size: int) -> list[ApiKey]:
        """The account's keys that are older than `before`, newest first."""
        values = {"owner": UUID(account_id), "before": UUID(before) if before else None, "size": size}
        async with self._engine.connect() as connection:
            return [_key(row) for row in await connection.execute(_LIST, values)]

    async def suspend(self, account_id: str, key_id: str, *, is_resumed: bool) -> ApiKey | None:
        """Suspends a key of the account, or takes that back."""
        values = {"owner": UUID(account_id), "wanted": UUID(key_id), "resumed": is_resumed}
        async with self._engine.begin() as connection:
            row = (await connection.execute(_SUSPEND, values)).one_or_none()
        return _key(row) if row else None

    async def delete(self, account_id: str, key_id: str) -> bool:
        """Forgets a key of the account; False when there is none."""
        async with self._engine.begin() as connection:
            return (await connection.execute(_DELETE, {"owner": UUID(account_id), "wanted": UUID(key_id)})).one_or_none() is not None

    async def find(self, prefix: str) -> KnownKey | None:
        """The key with this prefix, whoever owns it."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_BY_PREFIX, {"shown": prefix})).one_or_none()
        if row is None:
            return None
        owner = Account(str(row.account_id), row.email, row.display_name, frozenset(map(Role, row.roles)), row.is_email_verified)
        return KnownKey(_key(row), owner, row.digest, row.is_expired)

    async def touch(self, key_id: str) -> None:
        """Notes that the key is in use."""
        async with self._engine.begin() as connection:
            await connection.execute(_TOUCH, {"wanted": UUID(key_id)})


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        str(row.id), row.name, row.prefix, frozenset(row.scopes), row.create_time, row.expire_time, row.suspend_time, row.last_use_time
    )
