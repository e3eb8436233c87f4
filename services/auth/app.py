"""Assembly of the auth service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.resources import Resources
from mesh.service import Running, Service
from services.auth.keys import Seal
from services.auth.passwords import Passwords
from services.auth.repository import Repository
from services.auth.servicer import AuthServicer
from services.auth.sign_in import SignIn
from services.auth.tokens import AccessTokens


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Loads or makes the signing keys and serves AuthService. Raises SealError when the master key does not open them."""
    settings = resources.settings
    database = await resources.database("auth")
    repository = Repository(database.engine)
    ring = await repository.key_ring(Seal(settings.master_key.get_secret_value()), settings.access_token_ttl_s)
    tokens = AccessTokens(ring, settings.issuer, settings.access_token_ttl_s)
    passwords = Passwords()
    try:
        sign_in = SignIn(repository, passwords, tokens, settings.refresh_token_ttl_s)
        yield Running(servicers={"treadle.auth.v1.AuthService": AuthServicer(sign_in, ring)})
    finally:
        passwords.close()


SERVICE = Service("auth", build, migrations="services.auth.migrations", needs=("postgres",))
