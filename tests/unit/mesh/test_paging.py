"""Page tokens."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgumentError
from mesh.paging import read_token, write_token

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)


@given(TEXT, INTEGERS)
def test_a_token_gives_back_its_key(text: str, number: int) -> None:
    token = write_token(text, number)
    assert read_token(token, (str, int)) == (text, number)
    assert token.isascii()
    assert not set(token) & set("=+/ ")


def test_the_first_page_has_no_token() -> None:
    assert read_token("", (str,)) is None


def spelled(text: str) -> str:
    """A token with any content."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


SPELLED = ['[ "a"]', '{"0":"a"}', '"a"', "[true]", "[null]", "[1.5]", '[["a"]]', '["\\u0000"]', '["\\u0061"]']
FOREIGN = ["x", "!", "a b", "é", "A" * 5000, write_token("a") + "=", write_token("a") + "\n"]
UNFIT = [write_token(1), write_token("a", "b"), write_token()]


@pytest.mark.parametrize("token", [*FOREIGN, *UNFIT, *map(spelled, SPELLED)])
def test_what_is_no_token_of_ours_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read_token(token, (str,))
    assert caught.value.reason == "PAGE_TOKEN_INVALID"
    assert caught.value.violations[0].field == "page_token"


@pytest.mark.parametrize("text", ["[true]", "[1.0]", '["1"]', "[9223372036854775808]", "[-9223372036854775809]"])
def test_numbers_are_numbers(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        read_token(spelled(text), (int,))


@given(st.text(max_size=60))
def test_any_text_is_refused_or_read(token: str) -> None:
    try:
        read_token(token, (str, int))
    except InvalidArgumentError:
        return
