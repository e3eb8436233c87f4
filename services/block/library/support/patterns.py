"""Regular expressions from users: a pattern that would search for ever is stopped."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import regex  # type: ignore[import-untyped,unused-ignore]

from services.block.sdk import BlockError

SEARCH_TIMEOUT_S = 2.0
MAX_PATTERN_CHARS = 10_000


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def flags_of(*, case_sensitive: bool, dot_all: bool) -> int:
    """The flags of a search."""
    return (0 if case_sensitive else int(regex.IGNORECASE)) | (int(regex.DOTALL) if dot_all else 0)


def matches(pattern: str, text: str, flags: int) -> Iterator["regex.Match[str]"]:
    """All matches in order. Raises BlockError for a pattern that is wrong or takes longer than SEARCH_TIMEOUT_S seconds."""
    try:
        yield from _compiled(pattern, flags).finditer(text, timeout=SEARCH_TIMEOUT_S)
    except TimeoutError:
        raise BlockError(f"the pattern took longer than {SEARCH_TIMEOUT_S:g} seconds", kind="TimeoutError") from None


@lru_cache(maxsize=512)
def _compiled(pattern: str, flags: int) -> "regex.Pattern[str]":
    if len(pattern) > MAX_PATTERN_CHARS:
        raise BlockError(f"the pattern is longer than {MAX_PATTERN_CHARS} characters")
    try:
        return regex.compile(pattern, flags)
    except (regex.error, RecursionError, OverflowError) as error:
        raise BlockError(f"the pattern is not a regular expression: {error}", kind=type(error).__name__) from None
