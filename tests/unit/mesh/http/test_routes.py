"""The route tree."""

import pytest

from mesh.contract import ContractError, methods
from mesh.http.door import route_tree
from mesh.http.routes import RouteTree, variables_of


@pytest.fixture
def tree() -> RouteTree[str]:
    """Routes with every feature."""
    made: RouteTree[str] = RouteTree()
    for verb, template in [
        ("GET", "/v1/things"),
        ("POST", "/v1/things:import"),
        ("GET", "/v1/things/{id}"),
        ("POST", "/v1/things/{id}:cancel"),
        ("GET", "/v1/things/{id}/parts/{part}"),
        ("GET", "/v1/things/me"),
        ("GET", "/v1/things/me/friends"),
    ]:
        made.add(verb, template, template)
    return made


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("/v1/things", "/v1/things", ()),
        ("/v1/things/a", "/v1/things/{id}", (b"a",)),
        ("/v1/things/me", "/v1/things/me", ()),
        ("/v1/things/a:b", "/v1/things/{id}", (b"a:b",)),
        ("/v1/things/:cancel", "/v1/things/{id}", (b":cancel",)),
        ("/v1/things/a%3Acancel", "/v1/things/{id}", (b"a%3Acancel",)),
        ("/v1/things/a%2Fb/parts/c", "/v1/things/{id}/parts/{part}", (b"a%2Fb", b"c")),
        ("/v1/things/me/parts/c", "/v1/things/{id}/parts/{part}", (b"me", b"c")),
    ],
)
def test_paths_find_their_routes(tree: RouteTree[str], path: str, template: str, values: tuple[bytes, ...]) -> None:
    match = tree.find(path.encode())
    assert match is not None
    assert match.by_verb["GET"] == template
    assert match.values == values


def test_custom_verbs(tree: RouteTree[str]) -> None:
    match = tree.find(b"/v1/things/a:b:cancel")
    assert match is not None
    assert (match.by_verb, match.values) == ({"POST": "/v1/things/{id}:cancel"}, (b"a:b",))
    imported = tree.find(b"/v1/things:import")
    assert imported is not None
    assert imported.by_verb == {"POST": "/v1/things:import"}


@pytest.mark.parametrize(
    "path",
    ["", "/", "*", "/v1", "/v1/", "/v1/things/", "/v1//things", "/v1/things/a/", "/v1/things/a/parts", "/v1/things//parts/x", "/V1/things"],
)
def test_other_paths_find_nothing(tree: RouteTree[str], path: str) -> None:
    assert tree.find(path.encode()) is None


@pytest.mark.parametrize("template", ["/v1/{id=**}", "/v1/*", "/v1/{a.b}", "/v1/{id}x", "/v1/{id}:x/y", "/v1//x", "/v1/things"])
def test_templates_that_are_not_understood_or_taken_are_refused(tree: RouteTree[str], template: str) -> None:
    with pytest.raises(ContractError):
        tree.add("GET", template, template)


def test_variables_are_named_in_order() -> None:
    assert variables_of("/v1/things/{id}/parts/{part}:go") == ("id", "part")


def test_every_route_of_the_contracts_compiles_and_finds_itself() -> None:
    made = route_tree(methods().values())
    for method in methods().values():
        if method.http is not None:
            match = made.find(method.http.path.replace("{", "").replace("}", "").encode())
            assert match is not None
            assert match.by_verb[method.http.verb].method is method
