"""What a profile is and how it may change."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import available_timezones

from mesh.call import Caller
from mesh.errors import EtagMismatchError, InvalidArgumentError, NotFoundError, UnauthenticatedError, Violation

DEFAULT_TIMEZONE = "UTC"
# Fields that their owner may change.
MUTABLE = ("display_name", "timezone")
# Files beside the zones that mean something else on each machine, or nothing.
_NO_PLACES = {"Factory", "localtime"}


@dataclass(frozen=True, slots=True)
class Profile:
    """A person. `id` is the account's id; `timezone` an IANA name."""

    id: str
    email: str
    display_name: str
    timezone: str
    create_time: datetime
    update_time: datetime

    @property
    def etag(self) -> str:
        """Changes whenever the profile does."""
        return f'"{int(self.update_time.timestamp() * 1_000_000):x}"'


@dataclass(frozen=True, slots=True)
class NewProfile:
    """A profile as the claims of the access token describe it."""

    id: str
    email: str
    display_name: str


def claimed(caller: Caller) -> NewProfile:
    """The profile that somebody gets who has none yet. Raises UNAUTHENTICATED when a service calls for itself: it has no profile."""
    if not caller.user_id:
        raise UnauthenticatedError("Only a person has a profile.", reason="TOKEN_MISSING")
    name = _claims(caller.bearer).get("name")
    given = name.strip() if isinstance(name, str) else ""
    return NewProfile(caller.user_id, caller.email, given or _default_name(caller.email))


def changes(user: Mapping[str, str], mask: Sequence[str], email: str) -> dict[str, str]:
    """What to change: the fields in the mask ("*" is all of them), or with an empty mask those that are set.

    An empty value in the mask goes back to the default. Raises INVALID_ARGUMENT for unknown fields and time zones.
    """
    if not mask:
        wanted = {name: user[name] for name in MUTABLE if user[name]}
    else:
        _check_mask(mask)
        wanted = {name: user[name] for name in MUTABLE if name in mask or "*" in mask}
    defaults = {"display_name": _default_name(email), "timezone": DEFAULT_TIMEZONE}
    result = {name: value.strip() or defaults[name] for name, value in wanted.items()}
    if "timezone" in result and result["timezone"] not in known_timezones():
        raise InvalidArgumentError(
            f"There is no time zone {result['timezone']!r}.",
            reason="TIMEZONE_UNKNOWN",
            violations=[Violation("user.timezone", "must be an IANA name such as Europe/Berlin")],
        )
    return result


def profile_not_found() -> NotFoundError:
    """Nobody has such a profile, or none yet."""
    return NotFoundError("There is no such profile.", reason="PROFILE_NOT_FOUND")


def profile_changed() -> EtagMismatchError:
    """Somebody, or the person on another device, was quicker."""
    return EtagMismatchError("The profile has changed since it was read.", reason="PROFILE_CHANGED")


@cache
def known_timezones() -> frozenset[str]:
    """All IANA names. The first call reads the list from disk."""
    return frozenset(available_timezones()) - _NO_PLACES


def _check_mask(mask: Sequence[str]) -> None:
    unknown = [path for path in mask if path not in (*MUTABLE, "*")]
    if unknown:
        raise InvalidArgumentError(
            f"Cannot change {', '.join(unknown)}.",
            reason="UPDATE_MASK_INVALID",
            violations=[Violation("update_mask", f"{path} is not one of {', '.join(MUTABLE)}") for path in unknown],
        )


def _default_name(email: str) -> str:
    return email.partition("@")[0]


def _claims(bearer: str) -> dict[str, object]:
    # The chain has verified the token before any handler sees it; this only reads a claim that `Caller` does not carry.
    try:
        payload = bearer.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}
