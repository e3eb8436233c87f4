"""Consents, and deletions of accounts: what is known of them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from mesh.call import Caller
from mesh.errors import InvalidArgumentError, Violation

# Twice: at once, and again when no access token of the account is good any more, for what came in meanwhile.
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Consent:
    """What somebody said about a version of a document, once."""

    id: str
    document: str
    version: str
    is_granted: bool
    source_address: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Deletion:
    """The deletion of an account. `erased_by` are the services that have answered in this round."""

    user_id: str
    round: int
    request_time: datetime
    complete_time: datetime | None
    erased_by: frozenset[str]

    def waiting_for(self, services: Collection[str]) -> list[str]:
        """Of the services that must answer, those that have not."""
        return [] if self.complete_time else sorted(set(services) - self.erased_by)


def check_email(caller: Caller, email: str) -> None:
    """Raises InvalidArgumentError (EMAIL_DIFFERS) when the address is not the caller's own."""
    if email.strip().lower() != caller.email.lower():
        violation = Violation("email", "must be the address of your account")
        raise InvalidArgumentError("This is not the address of your account.", reason="EMAIL_DIFFERS", violations=[violation])
