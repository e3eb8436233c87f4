"""Whose a bearer token is, access token or API key: the one verifier of a process."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from treadle.auth.v1.api_key_service_pb2 import VerifyApiKeyRequest
from treadle.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from treadle.auth.v1.auth_service_pb2 import GetJwksRequest
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from mesh.identity.access_token import AccessClaims, Jwk, TokenVerifier, token_revoked
from mesh.identity.api_key import PREFIX, ApiKeyVerifier

if TYPE_CHECKING:
    from treadle.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceAsyncStub
    from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

    from mesh.clients import Clients

# Revoked ids that are remembered; the oldest goes first.
MAX_REVOKED = 50_000

_KEY_MEMBERS = ("kty", "crv", "x", "y", "kid", "alg", "use")


class Bearers:
    """Verifies bearer tokens. What is revoked ends here within moments of the news, though its signature still holds."""

    def __init__(self, issuer: str, clients: "Callable[[], Clients]") -> None:
        """`clients` are asked when the first token comes: only a running process knows where the auth service is."""
        self._clients = clients
        self._tokens = TokenVerifier(issuer, self._keys)
        self._api_keys = ApiKeyVerifier(self._ask)
        self._revoked: dict[str, None] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    async def verify(self, bearer: str) -> AccessClaims:
        """Raises UnauthenticatedError."""
        if bearer.startswith(PREFIX):
            return await self._api_keys.verify(bearer)
        claims = await self._tokens.verify(bearer)
        if claims.session_id in self._revoked:
            raise token_revoked()
        return claims

    def revoke(self, id: str) -> None:
        """Nothing of the sign-in or the API key with this id is good any more; keys of the account with this id are looked up anew."""
        self._api_keys.forget(id)
        if len(self._revoked) >= MAX_REVOKED:
            del self._revoked[next(iter(self._revoked))]
        self._revoked[id] = None
        for waiter in self._waiting.get(id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def ended(self, id: str) -> None:
        """Waits until news come that the sign-in or the API key with this id is revoked: for what lives longer than one call."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(id, set())
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(id, None)

    def missed_news(self) -> None:
        """Revocations may have been missed."""
        self._api_keys.forget_all()

    @cached_property
    def _auth(self) -> "AuthServiceAsyncStub":
        return AuthServiceStub(self._clients().channel("auth"))

    @cached_property
    def _key_service(self) -> "ApiKeyServiceAsyncStub":
        return ApiKeyServiceStub(self._clients().channel("auth"))

    async def _keys(self) -> list[Jwk]:
        answer = await self._auth.GetJwks(GetJwksRequest())
        return [{member: getattr(key, member) for member in _KEY_MEMBERS if getattr(key, member)} for key in answer.keys]

    async def _ask(self, text: str) -> AccessClaims:
        answer = await self._key_service.VerifyApiKey(VerifyApiKeyRequest(secret=text))
        ends_at = answer.expire_time.ToNanoseconds() / 1e9 if answer.HasField("expire_time") else float("inf")
        return AccessClaims(answer.user_id, answer.email, frozenset(answer.scopes), ends_at, answer.api_key_id)
