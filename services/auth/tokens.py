"""The two kinds of token: signed access tokens and opaque refresh tokens."""

import hashlib
import secrets
import time

from joserfc import jwt

from services.auth.account import Account
from services.auth.keys import ALGORITHM, KeyRing
from services.auth.roles import scopes_of

AUDIENCE = "treadle"
_REFRESH_TOKEN_BYTES = 32


class AccessTokens:
    """Signs access tokens (ES256 JWT) that live `ttl_s` seconds."""

    def __init__(self, ring: KeyRing, issuer: str, ttl_s: int) -> None:
        self.ttl_s = ttl_s
        self._ring = ring
        self._issuer = issuer

    def issue(self, account: Account, session_id: str = "") -> str:
        """A token for the account with all scopes of its roles, good as long as its session."""
        now = int(time.time())
        signer = self._ring.signer
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": account.id,
            "sid": session_id,
            "email": account.email,
            "email_verified": account.is_email_verified,
            "name": account.display_name,
            "scope": " ".join(sorted(scopes_of(account.roles))),
            "roles": sorted(account.roles),
            "iat": now,
            "exp": now + self.ttl_s,
            "jti": secrets.token_urlsafe(16),
        }
        return jwt.encode({"alg": ALGORITHM, "kid": signer.kid, "typ": "JWT"}, claims, signer.pair)


def new_refresh_token() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(_REFRESH_TOKEN_BYTES)


def digest(refresh_token: str) -> bytes:
    """What the database knows of a refresh token: its SHA-256 (the token is random, so it needs no salt)."""
    return hashlib.sha256(refresh_token.encode()).digest()
