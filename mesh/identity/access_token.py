"""Verifies access tokens of users: ES256 JWTs, by the keys that the auth service publishes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import extract_compact

from mesh.errors import TreadleError, UnauthenticatedError
from mesh.logs import get_logger

AUDIENCE = "treadle"
ALGORITHM = "ES256"
# Verified tokens that are remembered; the oldest goes first.
MAX_KNOWN = 10_000
# Keys are fetched anew when they are this old, so that a withdrawn one ends.
KEYS_MAX_AGE_S = 300.0
# Known keys go on for this long when nobody gives out new ones.
KEYS_STALE_S = 3600.0
# An unknown key id fetches at most this often: anyone can make one up.
KEYS_MIN_AGE_S = 5.0
# How far the clock of the one who signs may be ahead of ours; the edge allows the same.
CLOCK_SKEW_S = 60.0
# The end of the year 9999; no token means a later time.
LATEST = 253_402_300_799

_log = get_logger("mesh.identity")

Jwk = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid token says. `expires_at` is in seconds since the epoch."""

    user_id: str
    email: str
    scopes: frozenset[str]
    expires_at: float
    # The sign-in or the API key that it belongs to.
    session_id: str = ""


class TokenVerifier:
    """Checks signature, issuer, audience and life of a token. A token seen before costs a dictionary look-up."""

    def __init__(self, issuer: str, fetch_keys: Callable[[], Awaitable[list[Jwk]]]) -> None:
        """`fetch_keys` returns the JSON Web Keys in force (members kty, crv, x, y, kid)."""
        self._issuer = issuer
        self._fetch_keys = fetch_keys
        self._keys: dict[str, ECKey] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._known: dict[str, AccessClaims] = {}

    async def verify(self, token: str) -> AccessClaims:
        """Raises UnauthenticatedError: TOKEN_EXPIRED, or TOKEN_INVALID for everything else that is wrong with the token."""
        claims = self._known.get(token)
        if claims is None:
            claims = self._read(token, await self._key_for(token))
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[token] = claims
        if claims.expires_at <= time.time():
            self._known.pop(token, None)
            raise token_expired()
        return claims

    async def _key_for(self, token: str) -> ECKey:
        try:
            header = extract_compact(token.encode()).headers()
        except Exception:  # hostile text makes the library stumble in any way
            raise _invalid() from None
        key_id = header.get("kid")
        if header.get("alg") != ALGORITHM or not isinstance(key_id, str):
            raise _invalid()
        if key_id not in self._keys or time.monotonic() - self._fetched_at > KEYS_MAX_AGE_S:
            await self._refresh(key_id)
        key = self._keys.get(key_id)
        if key is None:
            raise _invalid()
        return key

    async def _refresh(self, key_id: str) -> None:
        async with self._fetching:
            now = time.monotonic()
            age_s = now - self._fetched_at
            if now - self._asked_at < KEYS_MIN_AGE_S or (key_id in self._keys and age_s <= KEYS_MAX_AGE_S):
                return
            try:
                fetched = await self._fetch_keys()
            except TreadleError:
                if key_id not in self._keys or age_s > KEYS_STALE_S:
                    raise
                _log.warning("keys_not_refreshed", age_s=round(age_s))
            else:
                self._keys = {jwk["kid"]: ECKey.import_key(dict(jwk)) for jwk in fetched if jwk.get("kty") == "EC"}
                self._fetched_at = now
            # After an answer, or a failure that known keys bridge: a caller without a key asks again at once.
            self._asked_at = now

    def _read(self, token: str, key: ECKey) -> AccessClaims:
        try:
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
        except Exception:  # as above
            raise _invalid() from None
        user_id, expires_at = claims.get("sub"), claims.get("exp")
        if claims.get("iss") != self._issuer or claims.get("aud") != AUDIENCE:
            raise _invalid()
        if not isinstance(user_id, str) or not user_id or not _is_time(expires_at):
            raise _invalid()
        not_before = claims.get("nbf", 0)
        if not _is_time(not_before) or not_before > time.time() + CLOCK_SKEW_S:
            raise _invalid()
        scopes = frozenset(str(claims.get("scope", "")).split())
        return AccessClaims(user_id, str(claims.get("email", "")), scopes, float(expires_at), str(claims.get("sid", "")))


def token_revoked() -> UnauthenticatedError:
    """The sign-in that the token belongs to has ended."""
    return UnauthenticatedError("This sign-in has ended; sign in again.", reason="TOKEN_REVOKED")


def token_expired() -> UnauthenticatedError:
    """The token was good, and is no longer."""
    return UnauthenticatedError("The access token has expired.", reason="TOKEN_EXPIRED")


def _is_time(value: Any) -> TypeGuard[float]:
    """Whether it is a time in seconds since the epoch that a calendar has: nothing endless, and not NaN, which no comparison ends."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LATEST


def _invalid() -> UnauthenticatedError:
    return UnauthenticatedError("The access token is not valid.", reason="TOKEN_INVALID")
