"""Sign-ins and their refresh tokens: a family of tokens, one traded for the next, is one session on one device."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Interval, LargeBinary, Text, Uuid, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.account import Client, Ended, KnownSession, Refused, SignedIn
from services.auth.repository.rows import account_of
from services.auth.tables import account, refresh_family, refresh_token

_EXPIRY = func.now() + bindparam("life", type_=Interval)
_OWNER = bindparam("owner", type_=Uuid)
_SHOWN = bindparam("shown", type_=LargeBinary)

_INSERT_FAMILY = (
    insert(refresh_family)
    .values(
        account_id=_OWNER,
        expire_time=_EXPIRY,
        source_address=bindparam("address", type_=Text),
        user_agent=bindparam("agent", type_=Text),
    )
    .returning(refresh_family.c.id)
)
_INSERT_TOKEN = insert(refresh_token).values(
    digest=bindparam("new_digest", type_=LargeBinary), family_id=bindparam("family", type_=Uuid), expire_time=_EXPIRY
)
_FORGET_EXPIRED_FAMILIES = delete(refresh_family).where(refresh_family.c.account_id == _OWNER, refresh_family.c.expire_time <= func.now())

_FAMILY_OF_TOKEN = select(refresh_token.c.family_id).where(refresh_token.c.digest == _SHOWN)
# The family's row is the lock of all its tokens. Reading the token must be a second statement: only that one sees what a trade that
# held the lock before has committed.
_LOCK_FAMILY = select(refresh_family.c.id).where(refresh_family.c.id == _FAMILY_OF_TOKEN.scalar_subquery()).with_for_update()
_READ_TOKEN = (
    select(
        account,
        (refresh_token.c.use_time.is_not(None)).label("is_used"),
        (refresh_family.c.end_time.is_not(None) | (refresh_token.c.expire_time <= func.now())).label("is_over"),
    )
    .select_from(refresh_token.join(refresh_family).join(account))
    .where(refresh_token.c.digest == _SHOWN)
)
_USE_TOKEN = update(refresh_token).where(refresh_token.c.digest == _SHOWN).values(use_time=func.now())
_EXTEND_FAMILY = (
    update(refresh_family)
    .where(refresh_family.c.id == bindparam("family", type_=Uuid))
    .values(expire_time=_EXPIRY, last_use_time=func.now(), source_address=bindparam("address", type_=Text))
)
_FORGET_EXPIRED_TOKENS = delete(refresh_token).where(
    refresh_token.c.family_id == bindparam("family", type_=Uuid), refresh_token.c.expire_time <= func.now()
)

_IS_OPEN = (refresh_family.c.end_time.is_(None), refresh_family.c.expire_time > func.now())
_END = {"end_time": func.now(), "end_reason": bindparam("reason", type_=Text)}
_END_BY_TOKEN = (
    update(refresh_family)
    .where(refresh_family.c.end_time.is_(None), refresh_family.c.id == _FAMILY_OF_TOKEN.scalar_subquery())
    .values(_END)
    .returning(refresh_family.c.id, refresh_family.c.account_id)
)
_END_ONE = (
    update(refresh_family)
    .where(refresh_family.c.account_id == _OWNER, refresh_family.c.id == bindparam("family", type_=Uuid), *_IS_OPEN)
    .values(_END)
    .returning(refresh_family.c.id)
)
_END_ALL = (
    update(refresh_family)
    .where(refresh_family.c.account_id == _OWNER, refresh_family.c.end_time.is_(None))
    .where(bindparam("kept", type_=Uuid).is_(None) | (refresh_family.c.id != bindparam("kept", type_=Uuid)))
    .values(_END)
    .returning(refresh_family.c.id)
)
_PAGE = (
    select(refresh_family)
    .where(refresh_family.c.account_id == _OWNER, *_IS_OPEN)
    .where(bindparam("before", type_=Uuid).is_(None) | (refresh_family.c.id < bindparam("before", type_=Uuid)))
    .order_by(refresh_family.c.id.desc())
    .limit(bindparam("size", type_=Integer))
)


class Sessions:
    """Sessions in PostgreSQL. Each method is one transaction. What ends gives the ids of the sessions that it ended."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def start(self, account_id: str, token_digest: bytes, ttl_s: int, client: Client) -> str:
        """The id of a new session with this refresh token; forgets the account's sessions that have expired."""
        async with self._engine.begin() as connection:
            await connection.execute(_FORGET_EXPIRED_FAMILIES, {"owner": UUID(account_id)})
            return await start_session(connection, UUID(account_id), token_digest, ttl_s, client)

    async def rotate(self, old_digest: bytes, new_digest: bytes, ttl_s: int, client: Client) -> SignedIn | Refused | Ended:
        """Trades a refresh token for a new one of the same session. A token that was traded before ends the session."""
        shown = {"shown": old_digest}
        async with self._engine.begin() as connection:
            family = (await connection.execute(_LOCK_FAMILY, shown)).scalar_one_or_none()
            row = (await connection.execute(_READ_TOKEN, shown)).one_or_none() if family else None
            if row is None:
                return Refused.INVALID
            if row.is_used:
                ended = (await connection.execute(_END_BY_TOKEN, shown | {"reason": "REUSE"})).scalars()
                return Ended([str(found) for found in ended], str(row.id))
            if row.is_over:
                return Refused.INVALID
            life = {"family": family, "life": timedelta(seconds=ttl_s)}
            await connection.execute(_USE_TOKEN, shown)
            await connection.execute(_FORGET_EXPIRED_TOKENS, {"family": family})
            await connection.execute(_EXTEND_FAMILY, life | {"address": client.source_address})
            await connection.execute(_INSERT_TOKEN, life | {"new_digest": new_digest})
        return SignedIn(account_of(row), str(family))

    async def end_by_token(self, token_digest: bytes) -> Ended | None:
        """Ends the session of a refresh token; None when none has ended by that. Idempotent."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(_END_BY_TOKEN, {"shown": token_digest, "reason": "LOGOUT"})).one_or_none()
        return Ended([str(row.id)], str(row.account_id)) if row else None

    async def end(self, account_id: str, session_id: str) -> list[str]:
        """Ends a session of the account, if it has such a one that is open."""
        return await self._end(_END_ONE, owner=UUID(account_id), family=UUID(session_id), reason="ENDED")

    async def end_all(self, account_id: str, *, kept: str = "", reason: str = "ENDED") -> list[str]:
        """Ends the account's sessions, but for the one with the id `kept`."""
        return await self._end(_END_ALL, owner=UUID(account_id), kept=UUID(kept) if kept else None, reason=reason)

    async def page(self, account_id: str, before: str | None, size: int) -> list[KnownSession]:
        """The account's open sessions that began before the one with the id `before`, newest first."""
        values = {"owner": UUID(account_id), "before": UUID(before) if before else None, "size": size}
        async with self._engine.connect() as connection:
            return [_session(row) for row in await connection.execute(_PAGE, values)]

    async def _end(self, statement: Any, **values: Any) -> list[str]:
        async with self._engine.begin() as connection:
            return [str(found) for found in (await connection.execute(statement, values)).scalars()]


async def start_session(connection: AsyncConnection, account_id: UUID, token_digest: bytes, ttl_s: int, client: Client) -> str:
    """The id of a new session with this refresh token, as a part of somebody's transaction."""
    life = {"life": timedelta(seconds=ttl_s)}
    values = {"owner": account_id, "address": client.source_address, "agent": client.user_agent}
    family = (await connection.execute(_INSERT_FAMILY, life | values)).scalar_one()
    await connection.execute(_INSERT_TOKEN, life | {"family": family, "new_digest": token_digest})
    return str(family)


async def end_sessions(connection: AsyncConnection, account_id: UUID, *, kept: str = "") -> list[str]:
    """Ends the account's sessions because its password has changed, as a part of somebody's transaction."""
    values = {"owner": account_id, "kept": UUID(kept) if kept else None, "reason": "PASSWORD"}
    return [str(found) for found in (await connection.execute(_END_ALL, values)).scalars()]


def _session(row: Row[Any]) -> KnownSession:
    return KnownSession(str(row.id), row.create_time, row.last_use_time, row.expire_time, row.source_address, row.user_agent)
