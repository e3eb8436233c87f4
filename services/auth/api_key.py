"""What an API key is: `trd_<8 characters to find it by>_<43 characters of secret>`."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from mesh.identity.api_key import PREFIX
from services.auth.account import Account

_PUBLIC_CHARS = 8
_SECRET_BYTES = 32
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `prefix` is the part by which it is found."""

    id: str
    name: str
    prefix: str
    scopes: frozenset[str]
    create_time: datetime
    expire_time: datetime | None
    suspend_time: datetime | None
    last_use_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to be made."""

    account_id: str
    name: str
    prefix: str
    digest: bytes
    scopes: frozenset[str]
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that somebody showed, with its owner; `is_expired` by the database's clock."""

    key: ApiKey
    owner: Account
    digest: bytes
    is_expired: bool


def new_text() -> str:
    """The text of a new key, with 256 random bits."""
    public = "".join(secrets.choice(_ALPHABET) for _ in range(_PUBLIC_CHARS))
    return f"{PREFIX}{public}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def prefix_of(text: str) -> str:
    """The part by which a key is found: `trd_` and 8 characters. Empty when the text cannot be a key."""
    public, _, secret = text.removeprefix(PREFIX).partition("_")
    return PREFIX + public if text.startswith(PREFIX) and len(public) == _PUBLIC_CHARS and secret else ""


def digest_of(text: str) -> bytes:
    """What the database knows of the whole text: its SHA-256 (it is random, so it needs no salt)."""
    return hashlib.sha256(text.encode()).digest()
