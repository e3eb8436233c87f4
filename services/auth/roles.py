"""Roles, and the one table of what each may do. Contracts name scopes only; tokens carry those of their account's roles."""

from collections.abc import Iterable, Mapping
from enum import StrEnum


class Role(StrEnum):
    """What somebody is to the platform. Every account has USER."""

    USER = "user"
    CREATOR = "creator"
    REVIEWER = "reviewer"
    ADMIN = "admin"


_USER = frozenset(
    {
        "users:read",
        "users:write",
        "accounts:read",
        "accounts:write",
        "graphs:read",
        "graphs:write",
        "blocks:read",
        "blocks:execute",
        "executions:read",
        "executions:write",
    }
)
_CREATOR = _USER | {"store:write"}
_REVIEWER = _USER | {"reviews:write"}
_ADMIN = _CREATOR | _REVIEWER | {"admin:accounts", "admin:audit", "admin:impersonate", "admin:keys", "admin:settings"}

SCOPES_OF: Mapping[Role, frozenset[str]] = {
    Role.USER: _USER,
    Role.CREATOR: _CREATOR,
    Role.REVIEWER: _REVIEWER,
    Role.ADMIN: _ADMIN,
}
USER_ROLES = frozenset({Role.USER})
OWNER_ROLES = USER_ROLES | {Role.ADMIN}
# What no API key may do: a key that can make keys or read mail links would outlive its own end.
NOT_FOR_KEYS = frozenset({"accounts:write"})


def scopes_of(roles: Iterable[Role]) -> frozenset[str]:
    """All that the roles grant together."""
    return frozenset[str]().union(*(SCOPES_OF[role] for role in roles))
