"""Signing keys: ES256 key pairs, sealed at rest with AES-256-GCM under a key derived from the master key."""

import base64
import binascii
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc.jwk import ECKey

ALGORITHM = "ES256"
_CURVE = "P-256"
_MASTER_KEY_BYTES = 32
_NONCE_BYTES = 12
_PURPOSE = b"treadle/auth/signing-key"


class SealError(Exception):
    """A key cannot be sealed or opened: the master key is missing, malformed, or another one than it was sealed with."""


class Seal:
    """Encrypts private keys for the database. `master_key` is the base64 text of 32 bytes."""

    def __init__(self, master_key: str) -> None:
        try:
            secret = base64.b64decode(master_key, validate=True)
        except binascii.Error as error:
            raise SealError("TREADLE_MASTER_KEY is not base64") from error
        if len(secret) != _MASTER_KEY_BYTES:
            raise SealError(f"TREADLE_MASTER_KEY must be the base64 of {_MASTER_KEY_BYTES} bytes, not of {len(secret)}")
        # A key of its own per purpose: what one part of the system encrypts, no other part can open by accident.
        self._cipher = AESGCM(HKDF(algorithm=SHA256(), length=_MASTER_KEY_BYTES, salt=None, info=_PURPOSE).derive(secret))

    def close(self, secret: bytes, label: str) -> bytes:
        """Nonce and ciphertext, bound to the label."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, label.encode())

    def open(self, sealed: bytes, label: str) -> bytes:
        """What was sealed under the label. Raises SealError when it was sealed by another master key, or changed."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], label.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError(f"signing key {label} was sealed with another TREADLE_MASTER_KEY") from error


@dataclass(frozen=True)
class SigningKey:
    """A key pair. `kid` is its RFC 7638 thumbprint; it signs from `starts_at` on, on `time.monotonic()`."""

    pair: ECKey
    starts_at: float = float("-inf")

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key pair."""
        return cls(_labelled(ECKey.generate_key(_CURVE, private=True)))

    @classmethod
    def unseal(cls, sealed: bytes, kid: str, seal: Seal, starts_at: float = float("-inf")) -> "SigningKey":
        """The key pair that `sealed` gave. Raises SealError."""
        return cls(_labelled(ECKey.import_key(seal.open(sealed, kid))), starts_at)

    @property
    def kid(self) -> str:
        """Id of the key, in the header of each token that it signs."""
        return str(self.pair.kid)

    @cached_property
    def public_jwk(self) -> dict[str, str]:
        """The public half as a JSON Web Key."""
        jwk = self.pair.as_dict(private=False)
        return {name: str(jwk[name]) for name in ("kty", "crv", "x", "y", "kid", "alg", "use")}

    def sealed(self, seal: Seal) -> bytes:
        """The private half, for the database."""
        return seal.close(self.pair.as_der(private=True), self.kid)


class KeyRing:
    """The keys of the service, newest first. The newest that has begun to sign signs; the others verify. Changes as a whole."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self.keys = tuple(keys)

    @property
    def signer(self) -> SigningKey:
        """The key that signs."""
        now = time.monotonic()
        return next((key for key in self.keys if key.starts_at <= now), self.keys[-1])

    def replace(self, other: "KeyRing") -> None:
        """Takes over the keys of another ring."""
        self.keys = other.keys


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What may be shown of a key. The newest has no `retire_time`."""

    kid: str
    create_time: datetime
    activate_time: datetime
    retire_time: datetime | None


def _labelled(pair: ECKey) -> ECKey:
    return ECKey.import_key(pair.as_der(private=True), {"kid": pair.thumbprint(), "alg": ALGORITHM, "use": "sig"})
