"""The auth service's parts on a real database."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis.asyncio as redis

from mesh.database import Database, open_database
from mesh.settings import Settings
from services.auth.keys import Seal
from services.auth.passwords import Passwords
from services.auth.repository.accounts import Accounts
from services.auth.repository.sessions import Sessions
from services.auth.repository.signing_keys import SigningKeys
from services.auth.sign_in import SignIn
from services.auth.throttle import Throttle
from services.auth.tokens import AccessTokens


@pytest_asyncio.fixture(scope="session")
async def database(migrated: Settings) -> AsyncIterator[Database]:
    """The database as the auth service sees it."""
    opened = await open_database(migrated, "auth")
    yield opened
    await opened.close()


@pytest.fixture
def repository(database: Database) -> Accounts:
    """Accounts in the real database."""
    return Accounts(database.engine)


@pytest.fixture
def signing_keys(database: Database) -> SigningKeys:
    """Signing keys in the real database."""
    return SigningKeys(database.engine)


@pytest.fixture(scope="session")
def passwords() -> Iterator[Passwords]:
    """A password hasher."""
    hasher = Passwords()
    yield hasher
    hasher.close()


@pytest_asyncio.fixture
async def throttle(settings: Settings) -> AsyncIterator[Throttle]:
    """Counts failures in the real cache."""
    async with redis.Redis.from_url(settings.cache_url.get_secret_value(), decode_responses=True) as cache:
        yield Throttle(cache)


@pytest.fixture
def seal(settings: Settings) -> Seal:
    """The seal of the master key."""
    return Seal(settings.master_key.get_secret_value())


@pytest_asyncio.fixture
async def tokens(signing_keys: SigningKeys, seal: Seal) -> AccessTokens:
    """Access tokens by real keys."""
    return AccessTokens(await signing_keys.key_ring(seal, 900), "https://issuer.test", 900)


@pytest_asyncio.fixture
async def sign_in(database: Database, tokens: AccessTokens, passwords: Passwords, throttle: Throttle) -> SignIn:
    """Signing in by real keys."""
    return SignIn(
        Accounts(database.engine),
        Sessions(database.engine),
        passwords=passwords,
        tokens=tokens,
        throttle=throttle,
        announce=_nobody_listens,
        refresh_ttl_s=3600,
    )


async def _nobody_listens(_: str) -> None:
    pass
