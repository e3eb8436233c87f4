"""What counts as JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.jsoncheck import MAX_DEPTH, MAX_DIGITS, check, depth
from mesh.jsontext import loads
from tests.unit.mesh.http.messages import JSON_TEXTS


@settings(max_examples=100, deadline=None, database=None)
@given(JSON_TEXTS)
def test_json_passes_and_reads_back(text: str) -> None:
    check(text.encode())
    assert loads(text) == json.loads(text)


@settings(max_examples=300, deadline=None, database=None)
@given(st.text('{}[]":,\\u019e+-. tr\n', max_size=50) | st.binary(max_size=30).map(lambda raw: raw.decode("latin-1")))
def test_what_passes_is_json_for_every_reader(text: str) -> None:
    try:
        check(text.encode())
    except ValueError:
        return
    json.loads(text)
    loads(text)


@pytest.mark.parametrize("digits", [19, 20, 40, 400, MAX_DIGITS])
def test_integers_of_any_sensible_size_pass(digits: int) -> None:
    number = "-" + "9" * digits
    check(f'{{"a":[{number},"\\u0041{number}",{number}]}}'.encode())
    assert loads(number) == int(number)


@pytest.mark.parametrize(
    "text", ["9" * (MAX_DIGITS + 1), "1e999", "-1e999", "0" + "9" * 40, "9" * 400 + "e", "9" * 400 + "x", "NaN", "Infinity"]
)
def test_numbers_that_no_reader_takes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check(text.encode())


def test_long_digits_in_strings_are_no_numbers() -> None:
    check(b'"' + b"7" * 9000 + b'"')


@pytest.mark.parametrize(
    ("text", "levels"),
    [("1", 0), ("[]", 1), ('{"a":[{}]}', 3), ('["[[[[", "\\"[[", "\\\\"]', 1), ('["\\\\\\"[", [1]]', 2), ('{"a":"\\\\","b":[[]]}', 3)],
)
def test_depth_counts_brackets_outside_of_strings(text: str, levels: int) -> None:
    assert depth(text.encode()) == levels


def test_values_nest_up_to_the_limit() -> None:
    check(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    check(json.dumps(["["] * 300).encode())
    with pytest.raises(ValueError, match="deeper than 100"):
        check(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
