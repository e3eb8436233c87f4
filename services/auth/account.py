"""What the service knows of an account."""

import unicodedata
from dataclasses import dataclass
from enum import Enum, auto

from services.auth.roles import Role


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in. `id` is a UUIDv7, `email` is lower-case."""

    id: str
    email: str
    display_name: str
    roles: frozenset[Role] = frozenset({Role.USER})


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made. `email` is lower-case."""

    email: str
    display_name: str
    password_hash: str
    roles: frozenset[Role] = frozenset({Role.USER})


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account with the hash of its password."""

    account: Account
    password_hash: str


class Refused(Enum):
    """Why a refresh token was not traded."""

    INVALID = auto()
    REUSED = auto()


def normal_email(email: str) -> str:
    """The form in which addresses are kept and compared."""
    # The same address typed on two systems may arrive in two Unicode forms.
    return unicodedata.normalize("NFC", email.strip().lower())


def default_name(email: str) -> str:
    """A name to show for somebody who gave none."""
    return email.partition("@")[0]
