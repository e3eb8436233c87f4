"""Assembly of the user service."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import orjson

from mesh.consumer import Reader, consuming
from mesh.logs import get_logger
from mesh.outbox import Post, posting
from mesh.personal_data import ANY_ERASED, services_with_data
from mesh.resources import Resources
from mesh.service import Running, Service
from mesh.streams import DOMAIN_EVENTS
from mesh.tasks import end
from services.user.personal_data import UserData
from services.user.privacy_repository import PrivacyRepository
from services.user.privacy_servicer import PrivacyServicer
from services.user.profile import known_timezones
from services.user.repository import Repository
from services.user.servicer import UserServicer

_ANSWERS = Reader(DOMAIN_EVENTS, ANY_ERASED, "deletion-answers")
# Between two looks for deletions that are due a second time.
_LOOK_S = 30.0
# Clocks differ, and calls that were let in may take a while.
_SPARE = dt.timedelta(minutes=2)

# Without an answer for so long, a deletion is asked for once more.
_PATIENCE = dt.timedelta(hours=1)

_log = get_logger("user")


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves UserService and PrivacyService."""
    known_timezones()
    database = await resources.database("user")
    privacy = PrivacyRepository(database.pool, services_with_data())

    async def answered(_: str, body: bytes) -> None:
        answer = orjson.loads(body)
        await privacy.answered(str(answer["user_id"]), int(answer["round"]), str(answer["service"]))

    async with AsyncExitStack() as stack:
        post = await stack.enter_async_context(posting(database.pool, resources))
        await stack.enter_async_context(consuming(resources, _ANSWERS, answered))
        await stack.enter_async_context(_asking_again(privacy, post, dt.timedelta(seconds=resources.settings.access_token_ttl_s) + _SPARE))
        servicers = {
            "treadle.user.v1.UserService": UserServicer(Repository(database.engine)),
            "treadle.user.v1.PrivacyService": PrivacyServicer(privacy, resources.clients, post),
        }
        yield Running(servicers=servicers, personal_data=UserData(privacy))


@asynccontextmanager
async def _asking_again(privacy: PrivacyRepository, post: Post, after: dt.timedelta) -> AsyncIterator[None]:
    """Starts second rounds of deletions, and repeats what got no answer, in the background while the context lasts."""

    async def run() -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                if await privacy.ask_again(after, _PATIENCE):
                    post.wake()
            except Exception as error:  # whatever it was, the next look tries again
                _log.warning("deletions_delayed", fault=type(error).__name__)

    task = asyncio.create_task(run(), name="deletions")
    try:
        yield
    finally:
        await end(task)


SERVICE = Service("user", build, migrations="services.user.migrations", needs=("postgres",))
