"""The auth service's parts on a real database."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from mesh.database import Database, open_database
from mesh.settings import Settings
from services.auth.keys import Seal
from services.auth.passwords import Passwords
from services.auth.repository.accounts import Accounts
from services.auth.repository.signing_keys import SigningKeys
from services.auth.sign_in import SignIn
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


@pytest.fixture
def seal(settings: Settings) -> Seal:
    """The seal of the master key."""
    return Seal(settings.master_key.get_secret_value())


@pytest_asyncio.fixture
async def sign_in(repository: Accounts, signing_keys: SigningKeys, passwords: Passwords, seal: Seal) -> SignIn:
    """Signing in by real keys."""
    ring = await signing_keys.key_ring(seal, 900)
    return SignIn(repository, passwords, AccessTokens(ring, "https://issuer.test", 900), 3600)
