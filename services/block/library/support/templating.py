"""Jinja2 templates from users: sandboxed, and bounded in time and memory."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, lru_cache, partial
from typing import Any

from jinja2 import BaseLoader, Template, TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from services.block.library.support import template_limits as limits
from services.block.library.support.offload import TooSlowError, bounded
from services.block.sdk import BlockError

MAX_OUTPUT_CHARS = 5_000_000
_BUDGET_FILTER = "_within_budget"
_JOIN_FILTER = "_joined"
_SIZE_FILTER = "_within_size"
_GROWING_FILTERS = ("center", "indent", "join", "replace", "wordwrap")
# Templates that are compiled and kept; a graph uses the same few over and over.
_KEPT_TEMPLATES = 256
# When the rendering at work must be over, on `time.monotonic()`.
_deadline: ContextVar[float] = ContextVar("template_deadline", default=float("inf"))


class _Sandbox(SandboxedEnvironment):
    """Adds limits to the sandbox: it keeps templates from the interpreter's insides, but not from taking all time and memory."""

    intercepted_binops = frozenset({"**", "*", "%", "+"})

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(loader=BaseLoader(), autoescape=autoescape)
        # Part of the semantics that agents rely on: their templates never had this filter.
        self.filters.pop("tojson", None)
        for name in _GROWING_FILTERS:
            self.filters[name] = limits.filter_within_limits(name, self.filters[name])
        self.filters["format"] = _format
        self.filters[_BUDGET_FILTER] = _Watched
        self.filters[_JOIN_FILTER] = lambda parts: limits.checked("".join(map(str, parts)))
        self.filters[_SIZE_FILTER] = limits.checked

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuses operations whose result would not fit."""
        limits.check_operation(operator, left, right)
        return limits.checked(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Refuses calls whose result would not fit."""
        limits.check_call(obj, args, kwargs)
        return limits.checked(super().call(context, obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Any:
        """The safe variant of `str.format`, which refuses widths that would not fit."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def within_limits(*args: Any, **kwargs: Any) -> Any:
            limits.check_call(value, args, kwargs)
            return wrapped(*args, **kwargs)

        return within_limits

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = _filtered(loop.iter, _BUDGET_FILTER)
        for block in tree.find_all(nodes.AssignBlock):
            block.filter = _filtered(block.filter, _SIZE_FILTER)
        return tree if self.autoescape else _ConcatLimits().visit(tree)


class _ConcatLimits(NodeTransformer):
    """Makes `a ~ b` a filter that checks its size."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the name that Jinja2 looks for
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), _JOIN_FILTER)


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=getattr(node, "lineno", 0) or 0)


class _Watched:
    """An iterable that stops the template once its time is over."""

    def __init__(self, items: Iterable[Any]) -> None:
        # Anything that Jinja2 can loop over; a thing that cannot be looped over raises here, as it would in the loop.
        self._items = items if hasattr(items, "__len__") else list(items)

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            _check_time()
            yield item


async def render(source: str, values: Mapping[str, Any], *, escape_html: bool = False) -> str:
    """The text of the template with these values. Raises BlockError for a template that is wrong, fails, is too slow or writes too much."""
    return await bounded(partial(_rendered, source, values, escape_html), "The template")


def _rendered(source: str, values: Mapping[str, Any], escape_html: bool, limit_s: float) -> str:
    token = _deadline.set(time.monotonic() + limit_s)
    try:
        parts: list[str] = []
        written = 0
        for part in _compiled(source, escape_html).generate(values):
            written += len(part)
            if written > MAX_OUTPUT_CHARS:
                raise BlockError(f"The text is longer than {MAX_OUTPUT_CHARS} characters")
            _check_time()
            parts.append(part)
    except TemplateError as error:
        raise BlockError(error.message or str(error), kind=type(error).__name__) from error
    finally:
        _deadline.reset(token)
    return "".join(parts)


@lru_cache(maxsize=_KEPT_TEMPLATES)
def _compiled(source: str, escape_html: bool) -> Template:
    return _sandbox(escape_html).from_string(source)


@cache
def _sandbox(escape_html: bool) -> _Sandbox:
    return _Sandbox(autoescape=escape_html)


def _check_time() -> None:
    if time.monotonic() > _deadline.get():
        raise TooSlowError


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    """Both `{{ amount|format("%.2f") }}` and Jinja2's own `{{ "%.2f"|format(amount) }}`."""
    if args and kwargs:
        raise BlockError("format takes positional or named values, not both")
    if not (isinstance(value, str) and "%" in value) and len(args) == 1 and isinstance(args[0], str):
        value, args = args[0], (value,)
    limits.check_format(str(value), ())
    result: str = value % (kwargs or args)
    return result
