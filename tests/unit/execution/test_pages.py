"""Page tokens come back as they went out, and nothing else is taken for one."""

import datetime as dt
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgumentError
from mesh.ids import uuid7
from services.execution.pages import offset_of, offset_token, position_of, position_token


@given(st.integers(0, (1 << 31) - 1))
def test_offsets(offset: int) -> None:
    assert offset_of(offset_token(offset)) == offset


@given(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(9000, 1, 1), timezones=st.just(dt.UTC)))  # noqa: DTZ001 - zone beside
def test_positions(time: dt.datetime) -> None:
    execution_id = uuid7()
    assert position_of(position_token(time, execution_id)) == (time, execution_id)


@given(st.text(max_size=60))
def test_anything_else_is_refused_in_the_same_way(token: str) -> None:
    for parse in (offset_of, position_of):
        with suppress(InvalidArgumentError):
            parse(token)


@pytest.mark.parametrize("token", ["nonsense", "LTE", "OTk5OTk5OTk5OTk5", "é"])
def test_some_that_are_not(token: str) -> None:
    with pytest.raises(InvalidArgumentError):
        offset_of(token)
    with pytest.raises(InvalidArgumentError):
        position_of(token)
