"""Jinja2 templates from users: sandboxed, and bounded in time and memory."""

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NoReturn

from jinja2 import BaseLoader, Template, TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment

from services.block.sdk import BlockError

MAX_EXPONENT = 1_000
MAX_REPEATED = 1_000_000  # characters or items that `"x" * n` may make
MAX_OUTPUT_CHARS = 5_000_000
MAX_RENDER_S = 2.0
_BUDGET_FILTER = "_within_budget"
# Templates that are compiled and kept; a graph uses the same few over and over.
_KEPT_TEMPLATES = 256


class _Sandbox(SandboxedEnvironment):
    """Adds limits to the sandbox: it keeps templates from the interpreter's insides, but not from taking all time and memory."""

    intercepted_binops = frozenset({"**", "*", "%"})

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(loader=BaseLoader(), autoescape=autoescape)
        self.deadline = float("inf")
        self.filters[_BUDGET_FILTER] = self._within_budget
        # Part of the semantics that agents rely on: their templates never had this filter.
        self.filters.pop("tojson", None)
        self.filters["format"] = _format
        for bulky in ("center", "indent", "wordwrap"):
            self.filters[bulky] = _bounded(self.filters[bulky])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuses operations whose result would not fit."""
        if operator == "**" and isinstance(right, int | float) and abs(right) > MAX_EXPONENT:
            raise BlockError(f"Exponent too large (max {MAX_EXPONENT})")
        if operator == "*":
            for items, times in ((left, right), (right, left)):
                if isinstance(items, str | list | tuple) and isinstance(times, int) and len(items) * times > MAX_REPEATED:
                    raise BlockError(f"Repetition too large (max {MAX_REPEATED} characters)")
        if operator == "%" and isinstance(left, str):
            _check_widths(left)
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _BUDGET_FILTER, [], [], None, None, lineno=loop.lineno)
        return tree

    def _within_budget(self, items: Iterable[Any]) -> "_Watched":
        return _Watched(items, self)


class _Watched:
    """An iterable that stops the template once its time is over."""

    def __init__(self, items: Iterable[Any], sandbox: _Sandbox) -> None:
        # Anything that Jinja2 can loop over; a thing that cannot be looped over raises here, as it would in the loop.
        self._items = items if hasattr(items, "__len__") else list(items)
        self._sandbox = sandbox

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            if time.monotonic() > self._sandbox.deadline:
                _too_slow()
            yield item


def render(source: str, values: Mapping[str, Any], *, escape_html: bool = False) -> str:
    """The text of the template with these values. Raises BlockError for a template that is wrong, fails, is too slow or writes too much."""
    sandbox = _sandbox(escape_html)
    try:
        template = _compiled(source, escape_html)
        sandbox.deadline = time.monotonic() + MAX_RENDER_S
        parts: list[str] = []
        written = 0
        for part in template.generate(values):
            written += len(part)
            if written > MAX_OUTPUT_CHARS:
                raise BlockError(f"The text is longer than {MAX_OUTPUT_CHARS} characters")
            if time.monotonic() > sandbox.deadline:
                _too_slow()
            parts.append(part)
    except TemplateError as error:
        raise BlockError(error.message or str(error), kind=type(error).__name__) from error
    return "".join(parts)


@lru_cache(maxsize=_KEPT_TEMPLATES)
def _compiled(source: str, escape_html: bool) -> Template:
    return _sandbox(escape_html).from_string(source)


@cache
def _sandbox(escape_html: bool) -> _Sandbox:
    return _Sandbox(autoescape=escape_html)


def _too_slow() -> NoReturn:
    raise BlockError(f"The template took longer than {MAX_RENDER_S:g} seconds")


def _check_widths(text: str) -> None:
    """`"%999999999d"` would pad to a gigabyte, and so would `*` with a large argument."""
    for part in text.split("%")[1:]:
        digits = part.lstrip("#-+ 0")
        width = digits[: len(digits) - len(digits.lstrip("0123456789."))]
        if digits.startswith("*") or any(len(number) > len(str(MAX_REPEATED)) - 1 for number in width.split(".")):
            raise BlockError(f"Field width too large (max {MAX_REPEATED})")


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    """Both `{{ amount|format("%.2f") }}` and Jinja2's own `{{ "%.2f"|format(amount) }}`."""
    if args and kwargs:
        raise BlockError("format takes positional or named values, not both")
    if not (isinstance(value, str) and "%" in value) and len(args) == 1 and isinstance(args[0], str):
        value, args = args[0], (value,)
    _check_widths(value)
    result: str = value % (kwargs or args)
    return result


def _bounded(function: Any) -> Any:
    """A filter whose width argument cannot blow the text up."""

    def bounded(*args: Any, **kwargs: Any) -> Any:
        numbers = [item for item in (*args[1:], *kwargs.values()) if isinstance(item, int)]
        if any(number > MAX_REPEATED for number in numbers):
            raise BlockError(f"Width too large (max {MAX_REPEATED})")
        return function(*args, **kwargs)

    for mark in ("jinja_pass_arg",):
        if hasattr(function, mark):
            setattr(bounded, mark, getattr(function, mark))
    return bounded
