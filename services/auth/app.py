"""Assembly of the auth service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from mesh.chain.faults import translate
from mesh.errors import UnavailableError
from mesh.logs import get_logger
from mesh.outbox import posting
from mesh.resources import Resources
from mesh.retention import forgetting
from mesh.service import Running, Service
from mesh.settings import Settings
from services.auth.account import normal_email
from services.auth.announcer import announcing
from services.auth.api_key_servicer import ApiKeyServicer
from services.auth.api_keys import KeyDesk
from services.auth.key_servicer import SigningKeyServicer
from services.auth.keys import KeyRing, Seal
from services.auth.link import LinkSigner
from services.auth.link_servicer import LinkServicer
from services.auth.links import LinkDesk
from services.auth.oidc import OidcDesk, open_providers
from services.auth.oidc_login import LoginSeal
from services.auth.oidc_servicer import OidcServicer
from services.auth.passwords import Passwords
from services.auth.personal_data import AccountData
from services.auth.repository.accounts import Accounts
from services.auth.repository.api_keys import ApiKeys
from services.auth.repository.identities import Identities
from services.auth.repository.links import Links
from services.auth.repository.persons import Persons
from services.auth.repository.sessions import Sessions
from services.auth.repository.signing_keys import SigningKeys
from services.auth.roles import OWNER_ROLES
from services.auth.rotation import Rotation, rotating
from services.auth.servicer import AuthServicer
from services.auth.session_desk import SessionDesk
from services.auth.session_servicer import SessionServicer
from services.auth.sign_in import SignIn
from services.auth.throttle import Throttle
from services.auth.tokens import AccessTokens

# Between two looks for a database that is away.
_RETRY_S = 0.5

_log = get_logger("auth")


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves all of `treadle.auth.v1` once the signing keys are loaded or made.

    Raises SealError when the master key does not open them.
    """
    settings = resources.settings
    database = await resources.database("auth")
    engine = database.engine
    seal, signing_keys = Seal(settings.master_key.get_secret_value()), SigningKeys(engine)
    ring = await _key_ring(signing_keys, seal, settings.access_token_ttl_s)
    accounts = await _accounts(engine, settings)
    async with AsyncExitStack() as stack:
        passwords = Passwords()
        stack.callback(passwords.close)
        rotation = await stack.enter_async_context(rotating(Rotation.from_settings(settings, signing_keys, seal, ring)))
        announcer = await stack.enter_async_context(announcing(resources))
        tokens = AccessTokens(ring, settings.issuer, settings.access_token_ttl_s)
        sessions, throttle = Sessions(engine), Throttle(resources.cache)
        sign_in = SignIn(
            accounts,
            sessions,
            passwords=passwords,
            tokens=tokens,
            throttle=throttle,
            announce=announcer.announce,
            refresh_ttl_s=settings.refresh_token_ttl_s,
            owner_email=normal_email(settings.owner_email),
        )
        desk = SessionDesk(accounts, sessions, passwords, throttle, announcer.announce)
        link_desk = LinkDesk(
            accounts,
            Links(engine),
            signer=LinkSigner(settings.master_key.get_secret_value(), settings.public_url),
            post=await stack.enter_async_context(posting(database.pool, resources)),
            passwords=passwords,
            sign_in=sign_in,
            announce=announcer.announce,
        )
        oidc = OidcDesk(
            await stack.enter_async_context(open_providers(settings)),
            Identities(engine),
            seal=LoginSeal(settings.master_key.get_secret_value()),
            sign_in=sign_in,
            announce=announcer.announce,
        )
        servicers = {
            "AuthService": AuthServicer(sign_in, ring),
            "ApiKeyService": ApiKeyServicer(KeyDesk(ApiKeys(engine), announcer.announce)),
            "LinkService": LinkServicer(link_desk),
            "OidcService": OidcServicer(oidc),
            "SessionService": SessionServicer(desk),
            "SigningKeyService": SigningKeyServicer(rotation),
        }
        persons = Persons(engine)
        await stack.enter_async_context(forgetting("sessions", settings.retention_sessions_days, persons.forget_sessions))
        yield Running(
            servicers={f"treadle.auth.v1.{name}": servicer for name, servicer in servicers.items()},
            personal_data=AccountData(persons, announcer.announce),
        )


async def _accounts(engine: AsyncEngine, settings: Settings) -> Accounts:
    accounts, owner_email = Accounts(engine), normal_email(settings.owner_email)
    if owner_email:
        # The account may be older than the setting.
        await accounts.set_roles(owner_email, OWNER_ROLES)
    return accounts


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
