"""What the service knows of an account and its sign-ins."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from services.auth.roles import Role

# What is kept of a client's own name for itself.
_MAX_AGENT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in. `id` is a UUIDv7, `email` is lower-case."""

    id: str
    email: str
    display_name: str
    roles: frozenset[Role] = frozenset({Role.USER})
    is_email_verified: bool = False


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made. `email` is lower-case; without a password nobody signs in with one."""

    email: str
    display_name: str
    password_hash: str | None
    roles: frozenset[Role] = frozenset({Role.USER})


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account with the hash of its password, if it has one."""

    account: Account
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class Client:
    """From where and with what somebody signs in; both may be empty."""

    source_address: str = ""
    user_agent: str = ""

    @classmethod
    def of(cls, source_address: str, user_agent: str) -> "Client":
        """With a name of bounded length that can be stored."""
        return cls(source_address, user_agent.replace("\0", "")[:_MAX_AGENT_CHARS])


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An account in one of its sessions."""

    account: Account
    session_id: str


@dataclass(frozen=True, slots=True)
class KnownSession:
    """An open session: one device."""

    id: str
    create_time: datetime
    last_use_time: datetime
    expire_time: datetime
    source_address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Sessions of an account that have ended by a refresh token that was shown."""

    session_ids: Sequence[str]
    account_id: str


class Refused(Enum):
    """Why a refresh token was not traded."""

    INVALID = auto()


def normal_email(email: str) -> str:
    """The form in which addresses are kept and compared."""
    # The same address typed on two systems may arrive in two Unicode forms.
    return unicodedata.normalize("NFC", email.strip().lower())


def default_name(email: str) -> str:
    """A name to show for somebody who gave none."""
    return email.partition("@")[0]
