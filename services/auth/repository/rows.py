"""From rows to what the service knows."""

from typing import Any

from sqlalchemy.engine import Row

from services.auth.account import Account
from services.auth.roles import Role


def account_of(row: Row[Any]) -> Account:
    """The account in a row with all columns of its table."""
    return Account(str(row.id), row.email, row.display_name, frozenset(map(Role, row.roles)), row.email_verify_time is not None)
