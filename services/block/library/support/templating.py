"""Jinja2 templates from users: sandboxed, bounded in time and memory, and the same text for the same values."""

import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache, lru_cache, partial
from typing import Any

from jinja2 import BaseLoader, Template, TemplateError, Undefined, nodes
from jinja2.runtime import markup_join, str_join
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from services.block.library.support import template_limits as limits
from services.block.library.support.offload import TooSlowError, bounded, offloaded
from services.block.sdk import BlockError

MAX_OUTPUT_CHARS = 5_000_000
# More tags take long to compile: off the event loop; and beyond all measure.
_MANY_TAGS = 200
_MAX_TAGS = 20_000
_BUDGET_FILTER = "_within_budget"
_JOIN_FILTER = "_joined"
_SIZE_FILTER = "_within_size"
_WEIGHT_FILTER = "_within_weight"
# Templates that are compiled and kept; a graph uses the same few over and over.
_KEPT_TEMPLATES = 256
_KEPT_TEMPLATE_CHARS = 100_000
_PLAIN = frozenset({list, dict, type(None)})
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class _Sandbox(SandboxedEnvironment):
    """Adds limits to the sandbox: it keeps templates from the interpreter's insides, but not from taking all time and memory."""

    intercepted_binops = frozenset({"**", "*", "%", "+"})

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(loader=BaseLoader(), autoescape=autoescape, finalize=_shown)
        # Part of the semantics that agents rely on: their templates never had this filter.
        self.filters.pop("tojson", None)
        # Makes another text each time.
        self.globals.pop("lipsum", None)
        self.filters |= {"random": _random, "format": _format}
        self.filters = {name: limits.filter_within_limits(name, found) for name, found in self.filters.items()}
        self.filters[_BUDGET_FILTER] = _Watched
        self.filters[_JOIN_FILTER] = partial(_joined, markup_join if autoescape else str_join)
        self.filters[_SIZE_FILTER] = limits.checked
        self.filters[_WEIGHT_FILTER] = limits.light

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
        limited: nodes.Template = _Limits().visit(tree)
        return limited


class _Limits(NodeTransformer):
    """Weighs what is done without a call or an operator that the sandbox sees: `a ~ b`, `[a, b]`, `{"a": b}`, `a[1:]`, `a == b`."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the names that Jinja2 looks for
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), _JOIN_FILTER)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _WEIGHT_FILTER) if node.items else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _WEIGHT_FILTER) if node.items else node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _WEIGHT_FILTER) if node.items and node.ctx == "load" else node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _SIZE_FILTER) if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _WEIGHT_FILTER)
        for operand in node.ops:
            # What a value is looked up in may be large.
            if operand.op not in {"in", "notin"}:
                operand.expr = _filtered(operand.expr, _WEIGHT_FILTER)
        return node


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
            limits.check_time()
            yield item


async def render(source: str, values: Mapping[str, Any], *, escape_html: bool = False) -> str:
    """The text of the template with these values. Raises BlockError for a template that is wrong, fails, is too slow or writes too much."""
    tags = source.count("{{") + source.count("{%")
    if tags > _MAX_TAGS:
        raise BlockError(f"The template has more than {_MAX_TAGS} tags")
    work = partial(_rendered, source, values, escape_html)
    return await (offloaded if tags > _MANY_TAGS else bounded)(work, "The template")


def _rendered(source: str, values: Mapping[str, Any], escape_html: bool, limit_s: float) -> str:
    may_change = limits.may_change_values(source)
    token = limits.meter.set(limits.Meter(time.monotonic() + limit_s, may_change_values=may_change))
    try:
        parts: list[str] = []
        written = 0
        # The values belong to others too: a template that may change them gets its own.
        for part in _template(source, escape_html).generate(deepcopy(dict(values)) if may_change else values):
            written += len(part)
            _check_written(written)
            parts.append(part)
    except (BlockError, TooSlowError):
        raise
    except RecursionError as error:
        raise BlockError("The template nests too deep", kind="RecursionError") from error
    except TemplateError as error:
        raise BlockError(error.message or str(error), kind=type(error).__name__) from error
    except Exception as error:
        raise BlockError(str(error) or type(error).__name__, kind=type(error).__name__) from error
    finally:
        limits.meter.reset(token)
    return _whole("".join(parts))


def _check_written(chars: int) -> None:
    limits.check_time()
    if chars > MAX_OUTPUT_CHARS:
        raise BlockError(f"The text is longer than {MAX_OUTPUT_CHARS} characters")


def _template(source: str, escape_html: bool) -> Template:
    return (_kept if len(source) <= _KEPT_TEMPLATE_CHARS else _kept.__wrapped__)(source, escape_html)


@lru_cache(maxsize=_KEPT_TEMPLATES)
def _kept(source: str, escape_html: bool) -> Template:
    return _sandbox(escape_html).from_string(source)


@cache
def _sandbox(escape_html: bool) -> _Sandbox:
    return _Sandbox(autoescape=escape_html)


def _whole(text: str) -> str:
    """Halves of characters, which a template can write as escapes, are no text that could be sent on."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _shown(value: Any) -> Any:
    """What a tag prints: Python's own description of things, without addresses, which differ from run to run."""
    if isinstance(value, str | int | float | Undefined):
        return value
    limits.light(value)
    return value if type(value) in _PLAIN else _ADDRESS.sub(" at 0x…", str(value))


def _joined(join: Any, parts: list[Any]) -> Any:
    limits.check_join(parts)
    return limits.checked(join(parts))


def _random(items: Any) -> Any:
    """An item that looks picked by chance, yet is the same for the same list: a template gives the same text whenever it is filled in."""
    found = items if isinstance(items, str | list | tuple) else list(items)
    return random.Random(str(found)).choice(found) if found else Undefined(hint="No random item, sequence was empty.")  # noqa: S311


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    """Both `{{ amount|format("%.2f") }}` and Jinja2's own `{{ "%.2f"|format(amount) }}`."""
    if args and kwargs:
        raise BlockError("format takes positional or named values, not both")
    if not (isinstance(value, str) and "%" in value) and len(args) == 1 and isinstance(args[0], str):
        value, args = args[0], (value,)
    limits.check_format(str(value), (args or kwargs,))
    result: str = value % (kwargs or args)
    return result
