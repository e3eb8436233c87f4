"""Accounts and the refresh tokens of their sign-ins."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Interval, LargeBinary, Text, Uuid, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.account import Account, Credentials, NewAccount, Refused
from services.auth.roles import Role
from services.auth.tables import account, refresh_family, refresh_token

_EXPIRY = func.now() + bindparam("life", type_=Interval)

_INSERT_ACCOUNT = upsert(account).on_conflict_do_nothing(index_elements=[account.c.email]).returning(account)
_ACCOUNT_BY_EMAIL = select(account).where(account.c.email == bindparam("email"))
_SET_ROLES = update(account).where(account.c.email == bindparam("address", type_=Text)).values(roles=bindparam("new_roles"))
_REPLACE_HASH = (
    update(account)
    .where(account.c.id == bindparam("account_id", type_=Uuid), account.c.password_hash == bindparam("old_hash", type_=Text))
    .values(password_hash=bindparam("new_hash", type_=Text))
)

_INSERT_FAMILY = (
    insert(refresh_family).values(account_id=bindparam("owner", type_=Uuid), expire_time=_EXPIRY).returning(refresh_family.c.id)
)
_INSERT_TOKEN = insert(refresh_token).values(
    digest=bindparam("new_digest", type_=LargeBinary), family_id=bindparam("family", type_=Uuid), expire_time=_EXPIRY
)
_FORGET_EXPIRED_FAMILIES = delete(refresh_family).where(
    refresh_family.c.account_id == bindparam("owner", type_=Uuid), refresh_family.c.expire_time <= func.now()
)

_FAMILY_OF_TOKEN = select(refresh_token.c.family_id).where(refresh_token.c.digest == bindparam("shown", type_=LargeBinary))
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
    .where(refresh_token.c.digest == bindparam("shown", type_=LargeBinary))
)
_USE_TOKEN = update(refresh_token).where(refresh_token.c.digest == bindparam("shown", type_=LargeBinary)).values(use_time=func.now())
_EXTEND_FAMILY = update(refresh_family).where(refresh_family.c.id == bindparam("family", type_=Uuid)).values(expire_time=_EXPIRY)
_FORGET_EXPIRED_TOKENS = delete(refresh_token).where(
    refresh_token.c.family_id == bindparam("family", type_=Uuid), refresh_token.c.expire_time <= func.now()
)
_END_FAMILY = (
    update(refresh_family)
    .where(refresh_family.c.end_time.is_(None), refresh_family.c.id == _FAMILY_OF_TOKEN.scalar_subquery())
    .values(end_time=func.now(), end_reason=bindparam("reason", type_=Text))
)


class Accounts:
    """Accounts and refresh tokens in PostgreSQL. Each method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create_account(self, new: NewAccount, token_digest: bytes, ttl_s: int) -> Account | None:
        """Creates an account and its first refresh token; None when the address is taken."""
        values = {
            "email": new.email,
            "display_name": new.display_name,
            "password_hash": new.password_hash,
            "roles": sorted(new.roles),
        }
        async with self._engine.begin() as connection:
            row = (await connection.execute(_INSERT_ACCOUNT, values)).one_or_none()
            if row is None:
                return None
            await _start_family(connection, row.id, token_digest, ttl_s)
        return _account(row)

    async def find_credentials(self, email: str) -> Credentials | None:
        """The account with this address, which must be in lower case."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_ACCOUNT_BY_EMAIL, {"email": email})).one_or_none()
        return Credentials(_account(row), row.password_hash) if row else None

    async def set_roles(self, email: str, roles: frozenset[Role]) -> None:
        """Gives the account with this address, if there is one, exactly these roles."""
        async with self._engine.begin() as connection:
            await connection.execute(_SET_ROLES, {"address": email, "new_roles": sorted(roles)})

    async def replace_password_hash(self, account_id: str, old_hash: str, new_hash: str) -> None:
        """Stores a hash made with today's costs, unless the password has changed meanwhile."""
        values = {"account_id": UUID(account_id), "old_hash": old_hash, "new_hash": new_hash}
        async with self._engine.begin() as connection:
            await connection.execute(_REPLACE_HASH, values)

    async def start_family(self, account_id: str, token_digest: bytes, ttl_s: int) -> None:
        """Stores the first refresh token of a sign-in; forgets the account's sign-ins that have expired."""
        async with self._engine.begin() as connection:
            await connection.execute(_FORGET_EXPIRED_FAMILIES, {"owner": UUID(account_id)})
            await _start_family(connection, UUID(account_id), token_digest, ttl_s)

    async def rotate(self, old_digest: bytes, new_digest: bytes, ttl_s: int) -> Account | Refused:
        """Trades a refresh token for a new one of the same family. A token that was traded before ends the family."""
        shown = {"shown": old_digest}
        async with self._engine.begin() as connection:
            family = (await connection.execute(_LOCK_FAMILY, shown)).scalar_one_or_none()
            row = (await connection.execute(_READ_TOKEN, shown)).one_or_none() if family else None
            if row is None:
                return Refused.INVALID
            if row.is_used:
                await connection.execute(_END_FAMILY, shown | {"reason": "REUSE"})
                return Refused.REUSED
            if row.is_over:
                return Refused.INVALID
            life = {"family": family, "life": timedelta(seconds=ttl_s)}
            await connection.execute(_USE_TOKEN, shown)
            await connection.execute(_FORGET_EXPIRED_TOKENS, {"family": family})
            await connection.execute(_EXTEND_FAMILY, life)
            await connection.execute(_INSERT_TOKEN, life | {"new_digest": new_digest})
        return _account(row)

    async def end_family(self, token_digest: bytes) -> None:
        """Signs out: no token of the family is good any more. Idempotent."""
        async with self._engine.begin() as connection:
            await connection.execute(_END_FAMILY, {"shown": token_digest, "reason": "LOGOUT"})


async def _start_family(connection: AsyncConnection, account_id: UUID, token_digest: bytes, ttl_s: int) -> None:
    life = timedelta(seconds=ttl_s)
    family = (await connection.execute(_INSERT_FAMILY, {"owner": account_id, "life": life})).scalar_one()
    await connection.execute(_INSERT_TOKEN, {"family": family, "life": life, "new_digest": token_digest})


def _account(row: Row[Any]) -> Account:
    return Account(str(row.id), row.email, row.display_name, frozenset(map(Role, row.roles)))
