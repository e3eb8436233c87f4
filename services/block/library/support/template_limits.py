"""Keeps templates of users from taking all memory: no operation may make a text or list beyond a bound.

Operations that add sizes are checked afterwards (the result is at most twice the bound), those that multiply them beforehand.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from services.block.sdk import BlockError

MAX_EXPONENT = 1_000
MAX_SIZE = 1_000_000  # characters of a text, items of a list

_WIDTH_METHODS = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_LONG_NUMBER = re.compile(r"\d{7,}")
_STAR_WIDTH = re.compile(r"%[#\-+ 0]*[\d.]*\*")
_NESTED_FIELD = re.compile(r":[^{}]*\{")


def checked(value: Any) -> Any:
    """The value itself. Raises BlockError when it is a text or list that is too large."""
    if isinstance(value, str | list | tuple) and len(value) > MAX_SIZE:
        raise _too_large()
    return value


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Refuses an operation whose result would be too large."""
    if operator == "**" and isinstance(right, int | float) and abs(right) > MAX_EXPONENT:
        raise BlockError(f"Exponent too large (max {MAX_EXPONENT})")
    if operator == "*":
        for items, times in ((left, right), (right, left)):
            if isinstance(items, str | list | tuple) and isinstance(times, int) and len(items) * times > MAX_SIZE:
                raise _too_large()
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > MAX_SIZE:
            raise _too_large()
    if operator == "%" and isinstance(left, str):
        check_format(left, ())


def check_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuses a call of a method of a text whose result would be too large."""
    owner = getattr(function, "__self__", None)
    if not isinstance(owner, str):
        return
    name = getattr(function, "__name__", "")
    if name in _WIDTH_METHODS:
        check_numbers(args)
    elif name == "replace":
        check_replace(owner, *args[:2])
    elif name == "join" and args:
        check_join(args[0], owner)
    elif name in {"format", "format_map"}:
        check_format(owner, (*args, *kwargs.values()))


def check_format(pattern: str, values: Iterable[Any]) -> None:
    """Refuses `"%999999999d"` and its kin, which pad to gigabytes."""
    if _LONG_NUMBER.search(pattern) or _STAR_WIDTH.search(pattern):
        raise _too_large()
    if _NESTED_FIELD.search(pattern):
        check_numbers(values)


def check_numbers(values: Iterable[Any]) -> None:
    """Refuses arguments that would be widths beyond the bound."""
    if any(isinstance(value, int) and value > MAX_SIZE for value in values):
        raise _too_large()


def check_replace(text: str, old: Any = "", new: Any = "") -> None:
    """Refuses a replacement whose result would be too large."""
    if len(text) + text.count(str(old)) * len(str(new)) > MAX_SIZE:
        raise _too_large()


def check_join(items: Any, separator: Any = "") -> None:
    """Refuses a join whose result would be too large."""
    if isinstance(items, list | tuple) and sum(len(item) if isinstance(item, str) else 8 for item in items) > MAX_SIZE:
        raise _too_large()
    if isinstance(items, list | tuple | str) and len(items) * len(str(separator)) > MAX_SIZE:
        raise _too_large()


def filter_within_limits(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja2 that refuses arguments whose result would be too large."""

    def within_limits(*args: Any, **kwargs: Any) -> Any:
        # Filters that know the environment get it (or the context) before the value.
        value, *rest = args[1:] if hasattr(function, "jinja_pass_arg") else args
        if name == "replace":
            check_replace(str(value), *rest[:2])
        elif name == "join":
            check_join(value, *rest[:1])
        else:
            check_numbers((*rest, *kwargs.values()))
        return checked(function(*args, **kwargs))

    if hasattr(function, "jinja_pass_arg"):
        within_limits.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
    return within_limits


def _too_large() -> BlockError:
    return BlockError(f"The template makes something larger than {MAX_SIZE} characters or items")
