"""Accounts."""

from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.account import Account, Client, Credentials, NewAccount, SignedIn
from services.auth.repository.rows import account_of
from services.auth.repository.sessions import end_sessions, start_session
from services.auth.roles import Role
from services.auth.tables import account

_INSERT = upsert(account).on_conflict_do_nothing(index_elements=[account.c.email]).returning(account)
_BY_EMAIL = select(account).where(account.c.email == bindparam("address", type_=Text))
_BY_ID = select(account).where(account.c.id == bindparam("wanted", type_=Uuid))
_SET_ROLES = (
    update(account).where(account.c.email == bindparam("address", type_=Text)).values(roles=bindparam("new_roles")).returning(account)
)
_REPLACE_HASH = (
    update(account)
    .where(account.c.id == bindparam("wanted", type_=Uuid))
    .where(account.c.password_hash.is_not_distinct_from(bindparam("old_hash", type_=Text)))
    .values(password_hash=bindparam("new_hash", type_=Text))
    .returning(account.c.id)
)


class Accounts:
    """Accounts in PostgreSQL. Each method is one transaction. Addresses are in their normal form."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, new: NewAccount, token_digest: bytes, ttl_s: int, client: Client) -> SignedIn | None:
        """Creates an account and its first session; None when the address is taken."""
        values = {
            "email": new.email,
            "display_name": new.display_name,
            "password_hash": new.password_hash,
            "roles": sorted(new.roles),
        }
        async with self._engine.begin() as connection:
            row = (await connection.execute(_INSERT, values)).one_or_none()
            if row is None:
                return None
            session_id = await start_session(connection, row.id, token_digest, ttl_s, client)
        return SignedIn(account_of(row), session_id)

    async def find_credentials(self, email: str) -> Credentials | None:
        """The account with this address."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_BY_EMAIL, {"address": email})).one_or_none()
        return Credentials(account_of(row), row.password_hash) if row else None

    async def get_credentials(self, account_id: str) -> Credentials | None:
        """The account with this id."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_BY_ID, {"wanted": UUID(account_id)})).one_or_none()
        return Credentials(account_of(row), row.password_hash) if row else None

    async def set_roles(self, email: str, roles: frozenset[Role]) -> Account | None:
        """Gives the account with this address, if there is one, exactly these roles."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(_SET_ROLES, {"address": email, "new_roles": sorted(roles)})).one_or_none()
        return account_of(row) if row else None

    async def replace_password_hash(self, account_id: str, old_hash: str | None, new_hash: str) -> None:
        """Stores a hash made with today's costs, unless the password has changed meanwhile."""
        values = {"wanted": UUID(account_id), "old_hash": old_hash, "new_hash": new_hash}
        async with self._engine.begin() as connection:
            await connection.execute(_REPLACE_HASH, values)

    async def change_password(self, account_id: str, old_hash: str | None, new_hash: str, *, kept: str = "") -> list[str] | None:
        """Stores the hash of a new password and ends all sessions but `kept`; their ids. None when the password has changed meanwhile."""
        values = {"wanted": UUID(account_id), "old_hash": old_hash, "new_hash": new_hash}
        async with self._engine.begin() as connection:
            if (await connection.execute(_REPLACE_HASH, values)).one_or_none() is None:
                return None
            return await end_sessions(connection, UUID(account_id), kept=kept)
