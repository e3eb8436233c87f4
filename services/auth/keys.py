"""Signing keys: ES256 key pairs, sealed at rest with AES-256-GCM under a key derived from the master key."""

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass
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
    """A key pair. `kid` is its RFC 7638 thumbprint."""

    pair: ECKey

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key pair."""
        return cls(_labelled(ECKey.generate_key(_CURVE, private=True)))

    @classmethod
    def unseal(cls, sealed: bytes, kid: str, seal: Seal) -> "SigningKey":
        """The key pair that `sealed` gave. Raises SealError."""
        return cls(_labelled(ECKey.import_key(seal.open(sealed, kid))))

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


@dataclass(frozen=True)
class KeyRing:
    """The keys of the service, newest first. The first signs; the others still verify."""

    keys: Sequence[SigningKey]

    @property
    def signer(self) -> SigningKey:
        """The key that signs."""
        return self.keys[0]


def _labelled(pair: ECKey) -> ECKey:
    return ECKey.import_key(pair.as_der(private=True), {"kid": pair.thumbprint(), "alg": ALGORITHM, "use": "sig"})
