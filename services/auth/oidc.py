"""Signing in by a provider: the rules, without SQL and without gRPC."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.exc import IntegrityError

from mesh.logs import get_logger
from mesh.settings import Settings
from services.auth import errors
from services.auth.account import Client, default_name, normal_email
from services.auth.oidc_login import Login, LoginSeal
from services.auth.oidc_provider import TIMEOUT_S, Person, Provider, read_providers
from services.auth.repository.identities import Found, Identities
from services.auth.sign_in import Session, SignIn

_MAX_NAME_CHARS = 100

_log = get_logger("auth.oidc")


class OidcDesk:
    """Logins by all providers. `announce` gets the id of whatever a login has ended."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        identities: Identities,
        *,
        seal: LoginSeal,
        sign_in: SignIn,
        announce: Callable[[str], Awaitable[None]],
    ) -> None:
        self._providers = providers
        self._identities = identities
        self._seal = seal
        self._sign_in = sign_in
        self._announce = announce

    @property
    def names(self) -> Sequence[str]:
        """The providers."""
        return sorted(self._providers)

    async def start(self, name: str) -> tuple[str, str]:
        """Where to send the user, and the token to finish with. Raises OIDC_PROVIDER_NOT_FOUND, OIDC_PROVIDER_AWAY."""
        provider = self._provider(name)
        login = Login.begin(name)
        return await provider.authorization_url(login), self._seal.close(login)

    async def finish(self, name: str, login_token: str, state: str, code: str, client: Client) -> tuple[Session, bool]:
        """Signs in who came back; whether the account is new. Raises OIDC_LOGIN_INVALID, OIDC_EMAIL_UNVERIFIED."""
        provider = self._provider(name)
        login = self._seal.open(login_token)
        if login is None or not login.is_answered_by(name, state):
            raise errors.oidc_login_invalid()
        found = await self._account(await provider.person(code, login))
        for ended in found.ended:
            await self._announce(ended)
        _log.info("oidc_login", user_id=found.account.id, provider=name, is_new=found.is_new)
        return await self._sign_in.begin(found.account, client), found.is_new

    async def _account(self, person: Person) -> Found:
        known = await self._identities.find(person)
        if known is not None:
            return Found(known)
        if not person.email or not person.is_email_verified:
            raise errors.oidc_email_unverified()
        email = normal_email(person.email)
        try:
            return await self._identities.link_or_create(person, email, person.name.strip()[:_MAX_NAME_CHARS] or default_name(email))
        except IntegrityError:
            # The same person came twice at the same moment; the other one was quicker.
            known = await self._identities.find(person)
            if known is None:
                raise
            return Found(known)

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise errors.oidc_provider_not_found(name)
        return self._providers[name]


@asynccontextmanager
async def open_providers(settings: Settings) -> AsyncIterator[Mapping[str, Provider]]:
    """The providers of the settings; their connections last as long as the context."""
    configured = read_providers(settings.oidc_providers.get_secret_value())
    if not configured:
        yield {}
        return
    import httpx  # noqa: PLC0415 - weighs too much for those who need none of it

    async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client:
        base = settings.public_url.rstrip("/")
        yield {name: Provider(item, f"{base}/account/oidc/{name}", client) for name, item in configured.items()}
