"""Regular expressions from users: a pattern that would search for ever is stopped."""

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from itertools import islice
from typing import Any

import regex  # type: ignore[import-untyped,unused-ignore]

from services.block.library.support.offload import TooSlowError, bounded, offloaded
from services.block.sdk import BlockError

MAX_PATTERN_CHARS = 10_000
# Matches may overlap, so together they can be far longer than the text.
MAX_FOUND_CHARS = 10_000_000
MAX_EFFORT = 2_000_000_000  # some five seconds
_QUICK_EFFORT = 5_000_000
_NO_MATCH = (-1, -1)


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def flags_of(*, case_sensitive: bool, dot_all: bool) -> int:
    """The flags of a search."""
    return (0 if case_sensitive else int(regex.IGNORECASE)) | (int(regex.DOTALL) if dot_all else 0)


async def find_groups(pattern: str, text: str, flags: int, *, group: int = 0, limit: int = 1) -> list[str]:
    """What that group matched, for the first `limit` matches that have it. Raises BlockError for a pattern that is wrong or too slow."""
    compiled = _compiled(pattern, flags)
    if not 0 <= group <= compiled.groups:
        return []
    # Some searches look at no clock until they are over; then the product of the lengths says how long they take.
    effort = len(pattern) * len(text)
    if effort > MAX_EFFORT:
        raise BlockError("the pattern and the text are too long together")
    run = offloaded if effort > _QUICK_EFFORT else bounded
    return await run(partial(_search, compiled, text, group, limit), "the pattern")


def _search(compiled: "regex.Pattern[str]", text: str, group: int, limit: int, limit_s: float) -> list[str]:
    try:
        # `concurrent` gives other threads their turn while the search is at work.
        found = compiled.finditer(text, timeout=limit_s, concurrent=True)
        groups = (match[group] for match in found if match.span(group) != _NO_MATCH)
        return list(_bounded(islice(groups, limit)))
    except TimeoutError:
        raise TooSlowError from None


def _bounded(groups: Iterable[str]) -> Iterator[str]:
    chars = 0
    for text in groups:
        chars += len(text)
        if chars > MAX_FOUND_CHARS:
            raise BlockError(f"The matches are longer than {MAX_FOUND_CHARS} characters together")
        yield text


@lru_cache(maxsize=512)
def _compiled(pattern: str, flags: int) -> "regex.Pattern[str]":
    if len(pattern) > MAX_PATTERN_CHARS:
        raise BlockError(f"the pattern is longer than {MAX_PATTERN_CHARS} characters")
    try:
        return regex.compile(pattern, flags)
    except RecursionError:
        raise BlockError("the pattern is not a regular expression: it nests too deep", kind="RecursionError") from None
    except (regex.error, OverflowError) as error:
        raise BlockError(f"the pattern is not a regular expression: {error}", kind=type(error).__name__) from None
