"""Keeps templates of users from taking all time and memory.

All that a rendering makes is charged to it, at first sight (a list by its length). Things are weighed to their depth where that decides
how long an operation takes: where they are put together, multiplied, compared and written as text.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from services.block.library.support.offload import TooSlowError
from services.block.sdk import BlockError

MAX_EXPONENT = 1_000
MAX_SIZE = 1_000_000  # characters of a text, items of a list
MAX_WEIGHT = 16_000_000  # of one thing: its characters and NODE_WEIGHT for each part
MAX_MADE = 64_000_000  # characters and items that one rendering makes
NODE_WEIGHT = 16
_MAX_INT_BITS = 20_000
# Filters whose time grows faster than their text, or much faster than others'.
_SLOW_FILTERS = frozenset({"urlize", "wordwrap", "striptags", "pprint", "xmlattr", "title", "wordcount"})
_MAX_SLOW_CHARS = 50_000
# Filters that take a list or dictionary as it is; the others write it as text.
_STRUCTURAL_FILTERS = frozenset(
    {"attr", "batch", "count", "d", "default", "dictsort", "first", "groupby", "items", "last", "length", "list", "map", "max", "min",
     "random", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "unique"}
)  # fmt: skip
_CHANGING_METHODS = frozenset(
    {"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "update", "setdefault", "popitem", "add", "discard"}
)

_CHANGES = re.compile(rf"\b(?:{'|'.join(sorted(_CHANGING_METHODS))})\b")
_LONG_NUMBER = re.compile(r"\d{7,}")
_STAR_WIDTH = re.compile(r"%[#\-+ 0]*[\d.]*\*")
_NESTED_FIELD = re.compile(r":[^{}]*\{")
_TEXTS = (str, bytes, bytearray)
_SEQUENCES = (*_TEXTS, list, tuple)


@dataclass(slots=True)
class Meter:
    """One rendering: when it must be over (on `time.monotonic()`), how much it has made, and whether it may change the values it got."""

    deadline: float = float("inf")
    made: int = 0
    may_change_values: bool = False


meter: ContextVar[Meter] = ContextVar("template_meter", default=Meter())  # noqa: B039 - never charged: rendering sets its own


def may_change_values(source: str) -> bool:
    """Whether a template could call a method that changes a list or dictionary; it then needs values of its own."""
    return _CHANGES.search(source) is not None


def check_time() -> None:
    """Raises TooSlowError when the time of the rendering is over."""
    if time.monotonic() > meter.get().deadline:
        raise TooSlowError


def weigh(value: Any, limit: int = MAX_WEIGHT) -> int:
    """The weight of a value, or something beyond the limit."""
    total = 0
    waiting = [value]
    while waiting and total <= limit:
        item = waiting.pop()
        total += NODE_WEIGHT
        if isinstance(item, _TEXTS):
            total += len(item)
        elif isinstance(item, Mapping):
            total += NODE_WEIGHT * len(item)
            waiting += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            if NODE_WEIGHT * len(item) > limit:
                return NODE_WEIGHT * len(item)
            waiting += item
    return total


def checked(value: Any) -> Any:
    """The value itself, charged to the rendering. Raises BlockError when it or all that was made is too large, TooSlowError."""
    check_time()
    size = len(value) if isinstance(value, (*_SEQUENCES, dict)) else 1
    rendering = meter.get()
    rendering.made += size
    if size > MAX_SIZE or rendering.made > MAX_MADE:
        raise _too_large()
    return value


def light(value: Any) -> Any:
    """The value itself. Raises BlockError when it is too heavy to be compared, written or put into something."""
    if not isinstance(value, str | int | float):
        check_time()
        _light(weigh(value))
    return value


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Refuses an operation whose result would be too large."""
    if operator == "**":
        if isinstance(right, int | float) and abs(right) > MAX_EXPONENT:
            raise BlockError(f"Exponent too large (max {MAX_EXPONENT})")
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _MAX_INT_BITS:
            raise _too_large()
    if operator == "*":
        for items, times in ((left, right), (right, left)):
            if isinstance(items, _SEQUENCES) and isinstance(times, int) and times > 0:
                if len(items) * times > MAX_SIZE:
                    raise _too_large()
                _light(weigh(items) * times)
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MAX_INT_BITS:
            raise _too_large()
    if operator == "%" and isinstance(left, _TEXTS):
        check_format(str(left), (right,))


def check_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuses a call of a method whose result would be too large, and one that changes values which are not the template's own."""
    check_time()
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if name in _CHANGING_METHODS and isinstance(owner, list | dict | set):
        if not meter.get().may_change_values:
            raise BlockError(f"The method {name} cannot be called in this way")
        checked([light(value) for value in (*args, *kwargs.values())])
        for value in args:
            if isinstance(value, Sized):
                checked(value)
    elif isinstance(owner, int):
        check_numbers(args)
    elif isinstance(owner, _TEXTS):
        _check_text_call(owner, name, args, kwargs)


def _check_text_call(owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    values = (*args, *kwargs.values())
    if name == "replace":
        check_replace(str(owner), *args[:2])
    elif name == "join" and args:
        check_join(args[0], owner)
    elif name in {"format", "format_map"}:
        check_format(str(owner), values)
    elif name == "translate" and args:
        _light(len(owner) * max(map(weigh, args[0].values()), default=1) if isinstance(args[0], Mapping) else 0)
    elif name == "expandtabs":
        widths = [value for value in values if isinstance(value, int)]
        _light(len(owner) * max((1, *widths)))
    else:
        check_numbers(values)


def check_format(pattern: str, values: Iterable[Any]) -> None:
    """Refuses formats whose result would be too large: `"%999999999d"` and its kin, and the same large value many times."""
    if _LONG_NUMBER.search(pattern) or _STAR_WIDTH.search(pattern):
        raise _too_large()
    values = list(values)
    if _NESTED_FIELD.search(pattern):
        check_numbers(values)
    places = pattern.count("%") + pattern.count("{")
    # A tuple's items take one place each.
    _light(weigh(values[0]) if len(values) == 1 and isinstance(values[0], tuple) else places * weigh(values))


def check_numbers(values: Iterable[Any]) -> None:
    """Refuses arguments that would be widths beyond the bound."""
    if any(isinstance(value, int) and value > MAX_SIZE for value in values):
        raise _too_large()


def check_replace(text: str, old: Any = "", new: Any = "") -> None:
    """Refuses a replacement whose result would be too large."""
    if len(text) + text.count(_text(old)) * len(_text(new)) > MAX_SIZE:
        raise _too_large()


def check_join(items: Any, separator: Any = "") -> None:
    """Refuses a join whose result would be too large."""
    if isinstance(items, Sized):
        _light(weigh(items) + len(items) * len(_text(separator)))


def filter_within_limits(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja2 that refuses arguments whose result would be too large."""

    def within_limits(*args: Any, **kwargs: Any) -> Any:
        check_time()
        # Filters that know the environment get it (or the context) before the value.
        value, *rest = args[1:] if hasattr(function, "jinja_pass_arg") else args
        _check_filter(name, value, (*rest, *kwargs.values()))
        return checked(function(*args, **kwargs))

    if hasattr(function, "jinja_pass_arg"):
        within_limits.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
    return within_limits


def _check_filter(name: str, value: Any, rest: tuple[Any, ...]) -> None:
    if name not in _STRUCTURAL_FILTERS:
        light(value)
    if name in _SLOW_FILTERS and weigh(value) > _MAX_SLOW_CHARS:
        raise BlockError(f"The filter {name} takes texts of at most {_MAX_SLOW_CHARS} characters")
    if name == "replace":
        check_replace(_text(value), *rest[:2])
    elif name == "join":
        check_join(value, *rest[:1])
    elif name == "round":
        if any(isinstance(part, int) and abs(part) > MAX_EXPONENT for part in rest):
            raise _too_large()
    elif name == "sum":
        if any(isinstance(part, _SEQUENCES) for part in rest):
            # Joins the lists one after the other, each time anew.
            _light(weigh(value) * (len(value) if isinstance(value, Sized) else MAX_SIZE))
    elif name == "indent":
        check_numbers(rest)
        width = max((len(part) if isinstance(part, str) else part for part in rest if isinstance(part, str | int)), default=4)
        _light(weigh(value) + _text(value).count("\n") * width)
    else:
        check_numbers(rest)


def _text(value: Any) -> str:
    """As the filters of Jinja2 write it; the weight of what a template holds is bounded, so its text is too."""
    return value if isinstance(value, str) else str(value)


def _light(weight: int) -> int:
    if weight > MAX_WEIGHT:
        raise _too_large()
    return weight


def _too_large() -> BlockError:
    return BlockError(f"The template makes something larger than {MAX_SIZE} characters or items")
