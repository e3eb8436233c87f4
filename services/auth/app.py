"""Assembly of the auth service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.chain.faults import translate
from mesh.errors import UnavailableError
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.service import Running, Service
from services.auth.account import normal_email
from services.auth.key_servicer import SigningKeyServicer
from services.auth.keys import KeyRing, Seal
from services.auth.passwords import Passwords
from services.auth.repository.accounts import Accounts
from services.auth.repository.signing_keys import SigningKeys
from services.auth.roles import OWNER_ROLES
from services.auth.rotation import Rotation
from services.auth.servicer import AuthServicer
from services.auth.sign_in import SignIn
from services.auth.tokens import AccessTokens

# Between two looks for a database that is away.
_RETRY_S = 0.5

_log = get_logger("auth")


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves AuthService once the signing keys are loaded or made. Raises SealError when the master key does not open them."""
    settings = resources.settings
    database = await resources.database("auth")
    seal, signing_keys = Seal(settings.master_key.get_secret_value()), SigningKeys(database.engine)
    ring = await _key_ring(signing_keys, seal, settings.access_token_ttl_s)
    rotation = Rotation(
        signing_keys,
        seal,
        ring,
        access_ttl_s=settings.access_token_ttl_s,
        ahead_s=settings.signing_key_ahead_s,
        max_age_s=settings.signing_key_max_age_s,
    )
    tokens = AccessTokens(ring, settings.issuer, settings.access_token_ttl_s)
    rotating = asyncio.create_task(rotation.run(), name="auth-key-rotation")
    passwords = Passwords()
    try:
        accounts, owner_email = Accounts(database.engine), normal_email(settings.owner_email)
        if owner_email:
            # It may be older than the setting.
            await accounts.set_roles(owner_email, OWNER_ROLES)
        sign_in = SignIn(accounts, passwords, tokens, settings.refresh_token_ttl_s, owner_email)
        yield Running(
            servicers={
                "treadle.auth.v1.AuthService": AuthServicer(sign_in, ring),
                "treadle.auth.v1.SigningKeyService": SigningKeyServicer(rotation),
            }
        )
    finally:
        rotating.cancel()
        await asyncio.gather(rotating, return_exceptions=True)
        passwords.close()


async def _key_ring(repository: SigningKeys, seal: Seal, access_ttl_s: int) -> KeyRing:
    """The signing keys; waits for a database that is away, so that the two may start in any order."""
    while True:
        try:
            return await repository.key_ring(seal, access_ttl_s)
        except Exception as error:
            if not isinstance(translate(error), UnavailableError):
                raise
            _log.warning("waiting_for_database", fault=type(error).__name__)
            await asyncio.sleep(_RETRY_S)


SERVICE = Service("auth", build, migrations="services.auth.migrations", needs=("postgres",))
