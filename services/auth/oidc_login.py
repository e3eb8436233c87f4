"""One login by a provider, while its user is away there: PKCE verifier, state and nonce, sealed into a token that the client keeps."""

import base64
import hashlib
import hmac
import os
import secrets
import time
from dataclasses import asdict, dataclass

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LIFE_S = 600
_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Login:
    """What must come back, and what proves to the provider that we are the ones who asked."""

    provider: str
    state: str
    nonce: str
    verifier: str
    end: float

    @classmethod
    def begin(cls, provider: str) -> "Login":
        """A login with secrets of its own, good for ten minutes."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(provider, state, nonce, verifier, time.time() + LIFE_S)

    @property
    def challenge(self) -> str:
        """The PKCE challenge (S256) of the verifier."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")

    def is_answered_by(self, provider: str, state: str) -> bool:
        """Whether the user came back from there, in time, to the client that had sent them."""
        return self.provider == provider and self.end > time.time() and hmac.compare_digest(self.state.encode(), state.encode())


class LoginSeal:
    """Seals logins, by a key of their own that comes from the master key. No process needs to remember any."""

    def __init__(self, master_key: str) -> None:
        secret = base64.b64decode(master_key)
        self._cipher = AESGCM(HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=b"treadle/auth/oidc-login").derive(secret))

    def close(self, login: Login) -> str:
        """The token."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, orjson.dumps(asdict(login)), None)).decode().rstrip("=")

    def open(self, token: str) -> Login | None:
        """The login; None for a token that is not ours."""
        try:
            sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            return Login(**orjson.loads(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)))
        except (InvalidTag, ValueError, TypeError):
            return None
