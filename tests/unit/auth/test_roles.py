"""What roles open: all that the contracts know, and to people nothing that is an administrator's."""

from mesh.contract import methods
from services.auth.roles import SCOPES_OF, Role, scopes_of

_IN_CONTRACTS = {scope for method in methods().values() for scope in method.scopes}


def test_each_scope_of_the_contracts_is_granted_by_a_role() -> None:
    assert scopes_of(Role) >= _IN_CONTRACTS, _IN_CONTRACTS - scopes_of(Role)


def test_an_administrator_may_do_whatever_the_contracts_offer() -> None:
    assert SCOPES_OF[Role.ADMIN] >= _IN_CONTRACTS


def test_nobody_else_has_a_scope_of_administrators() -> None:
    for role in Role:
        assert any(scope.startswith("admin:") for scope in SCOPES_OF[role]) == (role is Role.ADMIN)


def test_every_role_includes_that_of_a_person() -> None:
    assert all(SCOPES_OF[Role.USER] <= SCOPES_OF[role] for role in Role)
    assert scopes_of([Role.USER, Role.REVIEWER]) - SCOPES_OF[Role.USER] == {"reviews:write"}
