"""Who accounts are to OpenID Connect providers."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.account import Account
from services.auth.oidc_provider import Person
from services.auth.repository.rows import account_of
from services.auth.repository.sessions import end_sessions
from services.auth.tables import account, api_key, identity

_OWNER = bindparam("owner", type_=Uuid)
_KNOWN = (
    select(account)
    .select_from(identity.join(account))
    .where(identity.c.issuer == bindparam("issued_by", type_=Text), identity.c.subject == bindparam("who", type_=Text))
)
_CREATE = upsert(account).values(email_verify_time=func.now()).on_conflict_do_nothing(index_elements=[account.c.email]).returning(account)
_BY_EMAIL = select(account).where(account.c.email == bindparam("address", type_=Text)).with_for_update()
_LINK = insert(identity)
_TAKE_OVER = update(account).where(account.c.id == _OWNER).values(password_hash=None, email_verify_time=func.now()).returning(account)
_DROP_KEYS = delete(api_key).where(api_key.c.account_id == _OWNER)


@dataclass(frozen=True, slots=True)
class Found:
    """The account of a person; `ended` are the ids of what ended by that."""

    account: Account
    is_new: bool = False
    ended: tuple[str, ...] = ()


class Identities:
    """Identities in PostgreSQL. Each method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, person: Person) -> Account | None:
        """The account that the person has signed in to before."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_KNOWN, {"issued_by": person.issuer, "who": person.subject})).one_or_none()
        return account_of(row) if row else None

    async def link_or_create(self, person: Person, email: str, display_name: str) -> Found:
        """The account with this address, which the person has proved, or a new one without a password; theirs from now on.

        An account whose own holder never proved the address may be a trap that somebody else has set: its password and keys end.
        """
        async with self._engine.begin() as connection:
            created = (await connection.execute(_CREATE, {"email": email, "display_name": display_name})).one_or_none()
            row = created or (await connection.execute(_BY_EMAIL, {"address": email})).one()
            ended: tuple[str, ...] = ()
            if row.email_verify_time is None:
                row, ended = await _take_over(connection, row.id)
            await connection.execute(_LINK, {"issuer": person.issuer, "subject": person.subject, "account_id": row.id})
        return Found(account_of(row), created is not None, ended)


async def _take_over(connection: AsyncConnection, account_id: UUID) -> tuple[Any, tuple[str, ...]]:
    owner = {"owner": account_id}
    row = (await connection.execute(_TAKE_OVER, owner)).one()
    await connection.execute(_DROP_KEYS, owner)
    return row, (str(account_id), *await end_sessions(connection, account_id))
