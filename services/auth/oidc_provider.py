"""An OpenID Connect provider: what it publishes of itself, the trade of a code, and the check of what it says of a user."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, SecretStr, TypeAdapter, field_validator

from mesh.logs import get_logger
from services.auth import errors
from services.auth.oidc_login import Login

if TYPE_CHECKING:
    import httpx

# What a provider may sign with: keys that only it has.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
CLOCK_SKEW_S = 60.0
TIMEOUT_S = 5.0
# What it publishes is asked for again after so long, and its keys when one is unknown, but not more often than that.
_FRESH_S = 3600.0
_KEYS_MIN_AGE_S = 5.0
_OK = 200
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}

_log = get_logger("auth.oidc")


class ProviderSettings(BaseModel):
    """A provider in the configuration. `is_email_trusted`: it lets nobody have an address that is another's, though it does not say so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    client_id: str
    client_secret: SecretStr = SecretStr("")
    scope: str = "openid email profile"
    is_email_trusted: bool = False

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("must be an https URL")
        return issuer


def read_providers(text: str) -> dict[str, ProviderSettings]:
    """The providers of the configuration, a JSON object by name. Raises ValueError."""
    return TypeAdapter(dict[str, ProviderSettings]).validate_json(text) if text else {}


@dataclass(frozen=True, slots=True)
class Person:
    """Who the provider says that somebody is."""

    issuer: str
    subject: str
    email: str
    is_email_verified: bool
    name: str


class Provider:
    """One provider. Raises UNAVAILABLE (OIDC_PROVIDER_AWAY) when it does not answer, and OIDC_LOGIN_INVALID for what does not hold."""

    def __init__(self, settings: ProviderSettings, redirect_uri: str, client: "httpx.AsyncClient") -> None:
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._client = client
        self._metadata: Mapping[str, Any] = {}
        self._metadata_at = self._keys_at = float("-inf")
        self._keys = KeySet([])

    async def authorization_url(self, login: Login) -> str:
        """Where the user goes."""
        parameters = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._settings.scope,
            "state": login.state,
            "nonce": login.nonce,
            "code_challenge": login.challenge,
            "code_challenge_method": "S256",
        }
        endpoint = str((await self._discover())["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    async def person(self, code: str, login: Login) -> Person:
        """Who came back with the code."""
        tokens = await self._trade(code, login)
        claims = await self._id_claims(str(tokens.get("id_token", "")), login)
        if "email" not in claims and "userinfo_endpoint" in self._metadata:
            claims = {**await self._user_info(str(tokens.get("access_token", "")), claims["sub"]), **claims}
        is_verified = claims.get("email_verified") is True or self._settings.is_email_trusted
        return Person(self._settings.issuer, claims["sub"], str(claims.get("email", "")), is_verified, str(claims.get("name", "")))

    async def _trade(self, code: str, login: Login) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": login.verifier,
            "client_id": self._settings.client_id,
        }
        secret = self._settings.client_secret.get_secret_value()
        endpoint = str((await self._discover())["token_endpoint"])
        return await self._fetch("POST", endpoint, data=form, auth=(self._settings.client_id, secret) if secret else None)

    async def _id_claims(self, token: str, login: Login) -> dict[str, Any]:
        claims = await self._verified(token)
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        end, born, now = claims.get("exp"), claims.get("iat"), time.time()
        holds = (
            claims.get("iss") == self._settings.issuer
            and self._settings.client_id in audiences
            and (len(audiences) == 1 or claims.get("azp") == self._settings.client_id)
            and isinstance(end, (int, float))
            and end > now - CLOCK_SKEW_S
            and isinstance(born, (int, float))
            and born < now + CLOCK_SKEW_S
            and claims.get("nonce") == login.nonce
            and isinstance(claims.get("sub"), str)
            and claims["sub"]
        )
        if not holds:
            _log.warning("id_token_refused", issuer=self._settings.issuer)
            raise errors.oidc_login_invalid()
        return claims

    async def _verified(self, token: str) -> dict[str, Any]:
        """The claims of a token that the provider signed; its keys are fetched anew once, in case it has new ones."""
        for _ in range(2):
            if self._keys.keys:
                try:
                    return dict(jwt.decode(token, self._keys, algorithms=ALGORITHMS).claims)
                except Exception as error:  # whatever is wrong with it, the verdict is the same
                    _log.info("id_token_not_verified", fault=type(error).__name__)
            if time.monotonic() - self._keys_at < _KEYS_MIN_AGE_S:
                break
            document = await self._fetch("GET", str((await self._discover())["jwks_uri"]))
            self._keys, self._keys_at = KeySet.import_key_set(document), time.monotonic()  # type: ignore[arg-type]
        raise errors.oidc_login_invalid()

    async def _user_info(self, access_token: str, subject: str) -> Mapping[str, Any]:
        endpoint = str(self._metadata["userinfo_endpoint"])
        found = await self._fetch("GET", endpoint, headers={"authorization": f"Bearer {access_token}"})
        # It may speak of somebody else (OpenID Connect Core 5.3.2).
        return found if found.get("sub") == subject else {}

    async def _discover(self) -> Mapping[str, Any]:
        if time.monotonic() - self._metadata_at > _FRESH_S:
            url = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = await self._fetch("GET", url)
            if found.get("issuer") != self._settings.issuer:
                _log.error("oidc_issuer_differs", issuer=self._settings.issuer)
                raise errors.oidc_away()
            self._metadata, self._metadata_at = found, time.monotonic()
        return self._metadata

    async def _fetch(self, verb: str, url: str, **options: Any) -> dict[str, Any]:
        import httpx  # noqa: PLC0415 - loaded where providers are

        try:
            response = await self._client.request(verb, url, **options)
            document = response.json()
        except (httpx.HTTPError, ValueError) as error:
            _log.warning("oidc_provider_away", issuer=self._settings.issuer, fault=type(error).__name__)
            raise errors.oidc_away() from error
        if response.is_client_error and verb == "POST" and isinstance(document, dict):
            # The code is used, over, or another's; or the provider does not know us.
            _log.warning("oidc_code_refused", issuer=self._settings.issuer, error=str(document.get("error", ""))[:100])
            raise errors.oidc_login_invalid()
        if response.status_code != _OK or not isinstance(document, dict):
            _log.warning("oidc_provider_away", issuer=self._settings.issuer, status=response.status_code)
            raise errors.oidc_away()
        return document
