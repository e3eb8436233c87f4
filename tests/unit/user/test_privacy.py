"""What is known of deletions."""

from datetime import UTC, datetime

import pytest

from mesh.call import Caller
from mesh.errors import InvalidArgumentError
from services.user.privacy import Deletion, check_email

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_deletion_waits_for_those_who_have_not_answered() -> None:
    deletion = Deletion("u", 1, NOW, None, frozenset({"auth"}))
    assert deletion.waiting_for(["user", "auth", "graph"]) == ["graph", "user"]


def test_a_complete_deletion_waits_for_nobody_also_when_a_service_came_later() -> None:
    assert Deletion("u", 2, NOW, NOW, frozenset({"auth"})).waiting_for(["auth", "store"]) == []


@pytest.mark.parametrize("email", ["ann@example.com", " Ann@Example.com "])
def test_the_own_address_is_taken_however_it_is_typed(email: str) -> None:
    check_email(Caller(email="ann@example.com"), email)


@pytest.mark.parametrize(("own", "email"), [("ann@example.com", "bob@example.com"), ("", "x"), ("ann@example.com", "")])
def test_another_address_is_refused(own: str, email: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_email(Caller(email=own), email)
    assert caught.value.reason == "EMAIL_DIFFERS"
