"""Page tokens."""

import base64
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgumentError
from mesh.ids import uuid7
from mesh.paging import offset_of, offset_token, position_of, position_token, read_token, write_token

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


@given(st.integers(0, (1 << 31) - 1))
def test_offsets_come_back(offset: int) -> None:
    assert offset_of(offset_token(offset)) == offset


@given(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(9000, 1, 1), timezones=st.just(dt.UTC)))  # noqa: DTZ001 - zone beside
def test_positions_come_back_to_the_microsecond(time: dt.datetime) -> None:
    row_id = uuid7()
    assert position_of(position_token(time, row_id)) == (time, row_id)


def test_the_first_page_starts_nowhere() -> None:
    assert (offset_of(""), position_of("")) == (0, None)


@pytest.mark.parametrize("token", [*FOREIGN, write_token(-1), write_token(1 << 31), write_token("a"), write_token(1, "no uuid")])
def test_no_other_token_is_an_offset_or_a_position(token: str) -> None:
    for parse in (offset_of, position_of):
        with pytest.raises(InvalidArgumentError):
            parse(token)


def test_a_time_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(InvalidArgumentError):
        position_of(write_token(2**62, uuid7()))
