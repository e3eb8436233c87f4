"""All SQL of the user service. Times are the database's clock."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, bindparam, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from mesh.http.responses import is_current
from services.user.profile import NewProfile, Profile, profile_changed, profile_not_found
from services.user.tables import deletion, profile

_BY_ID = select(profile).where(profile.c.id == bindparam("id", type_=Uuid))
_LOCKED = _BY_ID.with_for_update()
_IS_DELETED = select(exists().where(deletion.c.user_id == bindparam("id", type_=Uuid)))
_INSERT = insert(profile)
# Changes nothing, but returns the row also when somebody else has just made it.
_CREATE = _INSERT.on_conflict_do_update(index_elements=[profile.c.id], set_={"id": _INSERT.excluded.id}).returning(profile)
_UPDATE = (
    update(profile).where(profile.c.id == bindparam("target", type_=Uuid)).values(update_time=func.clock_timestamp()).returning(profile)
)


class Repository:
    """Profiles in PostgreSQL. Each method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get_or_create(self, new: NewProfile) -> Profile:
        """The profile, made from the claims when there is none yet.

        Raises NotFoundError for an account that is deleted, whose tokens may be good for a while.
        """
        async with self._engine.begin() as connection:
            row = (await connection.execute(_BY_ID, {"id": UUID(new.id)})).one_or_none()
            if row is None:
                if (await connection.execute(_IS_DELETED, {"id": UUID(new.id)})).scalar_one():
                    raise profile_not_found()
                row = (await connection.execute(_CREATE, _values(new))).one()
        return _profile(row)

    async def find(self, user_id: str) -> Profile | None:
        """The profile, if there is one."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_BY_ID, {"id": UUID(user_id)})).one_or_none()
        return _profile(row) if row else None

    async def update(self, user_id: str, changes: Mapping[str, str], if_match: str = "") -> Profile | None:
        """Changes the profile, if there is one; no change leaves it as it is.

        Raises EtagMismatchError when its etag is none of those in `if_match`.
        """
        async with self._engine.begin() as connection:
            row = (await connection.execute(_LOCKED, {"id": UUID(user_id)})).one_or_none()
            if row is None:
                return None
            if if_match and not is_current(_profile(row).etag, if_match):
                raise profile_changed()
            if changes:
                row = (await connection.execute(_UPDATE.values(changes), {"target": UUID(user_id)})).one()
        return _profile(row)


def _values(new: NewProfile) -> dict[str, Any]:
    return {"id": UUID(new.id), "email": new.email, "display_name": new.display_name}


def _profile(row: Row[Any]) -> Profile:
    return Profile(str(row.id), row.email, row.display_name, row.timezone, row.create_time, row.update_time)
