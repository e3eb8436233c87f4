"""Links, what they do when they are used, and the mails that carry them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Interval, Text, Uuid, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.account import Account
from services.auth.link import Purpose
from services.auth.repository.rows import account_of
from services.auth.repository.sessions import end_sessions
from services.auth.tables import account, link, outbox

_WINDOW = timedelta(hours=1)

_OWNER = bindparam("owner", type_=Uuid)
_KIND = bindparam("kind", type_=Text)
_RECENT = (
    select(func.count())
    .select_from(link)
    .where(link.c.account_id == _OWNER, link.c.purpose == _KIND, link.c.create_time > func.now() - _WINDOW)
)
_INSERT = (
    insert(link)
    .values(
        account_id=_OWNER, purpose=_KIND, email=bindparam("address", type_=Text), expire_time=func.now() + bindparam("life", type_=Interval)
    )
    .returning(link.c.id, link.c.expire_time)
)
_POST = insert(outbox)
# Atomic: of two that use a link at the same moment one finds it unused.
_TAKE = (
    update(link)
    .where(link.c.id == bindparam("wanted", type_=Uuid), link.c.purpose == _KIND, link.c.use_time.is_(None))
    .where(link.c.expire_time > func.now())
    .values(use_time=func.now())
    .returning(link.c.account_id, link.c.email)
)
# Who chose a new password, or lost the old one to somebody, has no use for the other links that are under way.
_VOID_OTHERS = (
    update(link)
    .where(link.c.account_id == _OWNER, link.c.purpose.in_([Purpose.RESET, Purpose.SIGN_IN]), link.c.use_time.is_(None))
    .values(use_time=func.now())
)
_FORGET_OLD = delete(link).where(link.c.account_id == _OWNER, link.c.expire_time < func.now() - timedelta(days=1))
# A link proves the address that it was mailed to, which may no longer be that of the account.
_VERIFY = (
    update(account)
    .where(account.c.id == _OWNER, account.c.email == bindparam("address", type_=Text))
    .values(email_verify_time=func.coalesce(account.c.email_verify_time, func.now()))
    .returning(account)
)
_SET_HASH = update(account).where(account.c.id == _OWNER).values(password_hash=bindparam("new_hash", type_=Text))
_GET = select(account).where(account.c.id == _OWNER)

# From the id and the end of a link to the subject and the body of the message that carries it.
Compose = Callable[[str, datetime], tuple[str, str]]


class Links:
    """Links in PostgreSQL. Each method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, owner: Account, purpose: Purpose, life_s: int) -> tuple[str, datetime]:
        """The id and the end of a new link."""
        async with self._engine.begin() as connection:
            row = await _insert(connection, owner, purpose, life_s)
        return str(row.id), row.expire_time

    async def create_mailed(self, owner: Account, purpose: Purpose, life_s: int, compose: Compose, limit: int) -> bool:
        """Makes a link and posts the message that carries it; False, and nothing, when `limit` were made within an hour."""
        values = {"owner": UUID(owner.id), "kind": purpose.value}
        async with self._engine.begin() as connection:
            if (await connection.execute(_RECENT, values)).scalar_one() >= limit:
                return False
            row = await _insert(connection, owner, purpose, life_s)
            subject, body = compose(str(row.id), row.expire_time)
            await connection.execute(_POST, {"subject": subject, "body": body})
        return True

    async def reset_password(self, link_id: str, new_hash: str) -> tuple[str, list[str]] | None:
        """Uses a link: sets the password, ends all sessions. The account's id and those of the sessions; None when the link is over."""
        async with self._engine.begin() as connection:
            used = await _take(connection, link_id, Purpose.RESET)
            if used is None:
                return None
            owner = {"owner": used.account_id}
            await connection.execute(_SET_HASH, owner | {"new_hash": new_hash})
            await connection.execute(_VERIFY, owner | {"address": used.email})
            await connection.execute(_VOID_OTHERS, owner)
            return str(used.account_id), await end_sessions(connection, used.account_id)

    async def verify_email(self, link_id: str) -> Account | None:
        """Uses a link: the account's address is proved. None when the link is over."""
        async with self._engine.begin() as connection:
            used = await _take(connection, link_id, Purpose.VERIFY)
            if used is None:
                return None
            row = (await connection.execute(_VERIFY, {"owner": used.account_id, "address": used.email})).one_or_none()
        return account_of(row) if row else None

    async def sign_in(self, link_id: str) -> Account | None:
        """Uses a link: who signs in. None when the link is over."""
        async with self._engine.begin() as connection:
            used = await _take(connection, link_id, Purpose.SIGN_IN)
            return account_of((await connection.execute(_GET, {"owner": used.account_id})).one()) if used else None


async def _insert(connection: AsyncConnection, owner: Account, purpose: Purpose, life_s: int) -> Row[Any]:
    await connection.execute(_FORGET_OLD, {"owner": UUID(owner.id)})
    values = {"owner": UUID(owner.id), "kind": purpose.value, "address": owner.email, "life": timedelta(seconds=life_s)}
    return (await connection.execute(_INSERT, values)).one()


async def _take(connection: AsyncConnection, link_id: str, purpose: Purpose) -> Row[Any] | None:
    return (await connection.execute(_TAKE, {"wanted": UUID(link_id), "kind": purpose.value})).one_or_none()
