"""Assembly of the user service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.resources import Resources
from mesh.service import Running, Service
from services.user.profile import known_timezones
from services.user.repository import Repository
from services.user.servicer import UserServicer


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves UserService."""
    known_timezones()
    database = await resources.database("user")
    yield Running(servicers={"treadle.user.v1.UserService": UserServicer(Repository(database.engine))})


SERVICE = Service("user", build, migrations="services.user.migrations", needs=("postgres",))
