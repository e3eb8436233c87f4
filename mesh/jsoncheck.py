"""Decides what counts as JSON: RFC 8259 text in UTF-8 that every reader behind us takes, integers of any sensible size included.

Stricter than the grammar in four places: numbers must fit a double or be integers, escapes must form whole characters, values nest at
most `MAX_DEPTH` deep, and integers have at most `MAX_DIGITS` digits. Duplicate keys are allowed; readers take the last one.
"""

import re
from itertools import accumulate
from typing import Any

import orjson

# As in protobuf's own JSON reader; deeper values exhaust the stack of readers that recurse.
MAX_DEPTH = 100
# CPython refuses to read longer integers (`sys.get_int_max_str_digits`).
MAX_DIGITS = 4300

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_HUGE_DIGITS = re.compile(rb"\d{%d}" % (MAX_DIGITS + 1))
_LONG_INTEGER = re.compile(rb"(?<![\d.eE+])(\d{18})\d+(?![\d.eE])")
_LONG_RUN = re.compile(rb"\d{19}")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class TooDeepError(ValueError):
    """The text nests deeper than MAX_DEPTH."""

    def __init__(self) -> None:
        """Says so."""
        super().__init__(f"nests deeper than {MAX_DEPTH} levels")


def check(text: bytes) -> Any:
    """Returns the value as orjson sees it (integers beyond 64 bits inexact). Raises ValueError, with a sentence for people, for depth
    TooDeepError.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        value = _check_long_integers(text, error)
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and depth(text) > MAX_DEPTH:
        raise TooDeepError
    if len(text) > MAX_DIGITS and _HUGE_DIGITS.search(text) and _HUGE_DIGITS.search(_outside_strings(text)):
        raise ValueError(f"holds a number with more than {MAX_DIGITS} digits")
    return value


def depth(text: bytes) -> int:
    """How deep the arrays and objects of valid JSON text nest; 0 for a bare value."""
    brackets = _outside_strings(text).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _outside_strings(text: bytes) -> bytes:
    """Valid JSON text without its strings. A run of backslashes starts outside of any escape, so taking pairs from its left is right."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"-".join(text.split(b'"')[::2])


def _check_long_integers(text: bytes, error: orjson.JSONDecodeError) -> Any:
    """A second look: orjson refuses integers beyond the range of a double, which are JSON that we keep."""
    if error.msg.startswith("depth limit"):
        raise TooDeepError from None
    if _LONG_RUN.search(text):
        bare = _shorten_integers(text)
        try:
            return orjson.loads(bare)
        except orjson.JSONDecodeError:
            pass
    raise ValueError(f"{error.msg} (line {error.lineno}, column {error.colno})") from None


def _shorten_integers(text: bytes) -> bytes:
    """The text with long integers outside of strings cut to 18 digits."""
    parts: list[bytes] = []
    end = 0
    for string in _STRING.finditer(text):
        parts += (_LONG_INTEGER.sub(rb"\1", text[end : string.start()]), string.group())
        end = string.end()
    return b"".join((*parts, _LONG_INTEGER.sub(rb"\1", text[end:])))
