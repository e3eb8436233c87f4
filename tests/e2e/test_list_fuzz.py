"""Page tokens and filters of every list in the contracts: whatever stands there, the answer is a page or says what is wrong."""

import base64
import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.contract import HttpRule, Method, methods
from mesh.http.query import QueryReader
from mesh.http.routes import variables_of

LISTS = [
    method
    for method in methods().values()
    if method.http and method.http.verb == "GET" and not method.is_server_streaming and "edge" in method.callers
    if "page_token" in method.request_descriptor.fields_by_name
]
ID = "0190a000-0000-7000-8000-000000000000"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
# Sort keys of any kind in the form of our tokens, and what is no token.
KEYS = st.lists(st.integers(-(2**70), 2**70) | TEXT | st.none() | st.booleans() | st.floats() | st.just(ID), max_size=3)
HEX = st.binary(max_size=40).map(bytes.hex)
TOKENS = HEX | KEYS.map(lambda key: base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("="))
VALUES = TEXT | TOKENS | st.sampled_from(["0", "-1", "2147483648", "1e3", ID, "%", "' OR 1=1 --", "*", "2026-01-01T00:00:00Z"])
MANY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def caller(client: httpx.Client) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=30) as made:
        yield made


def rule_of(method: Method) -> HttpRule:
    assert method.http is not None
    return method.http


@pytest.mark.parametrize("method", LISTS, ids=lambda method: method.full_name)
def test_any_token_and_any_filter(caller: httpx.Client, method: Method) -> None:
    rule = rule_of(method)
    variables = variables_of(rule.path)
    names = list(QueryReader(method.request_descriptor, variables).fields)

    @MANY
    @given(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=4))
    def ask(query: dict[str, str]) -> None:
        path = rule.path
        for variable in variables:
            path = path.replace(f"{{{variable}}}", ID)
        answer = caller.get(path, params=query)
        assert answer.status_code in {200, 400, 404}, (answer.status_code, answer.text[:500])
        if answer.status_code == 200:
            assert "next_page_token" in answer.json()
        else:
            assert answer.json()["code"] in {3, 5}
            assert answer.json()["details"][0]["reason"]

    ask()


def test_there_are_lists_with_filters() -> None:
    assert len(LISTS) >= 10
    assert any(set(method.request_descriptor.fields_by_name) - {"page_size", "page_token"} for method in LISTS)
