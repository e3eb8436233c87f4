"""Names of pins and the paths in them: `_$_` list index, `_#_` dictionary key, `_@_` object attribute, nested as deep as one likes.

On the sink side a path says where in the pin's value an arriving value goes; on the source side which part of an output a link carries.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

LIST, DICT, OBJECT = "_$_", "_#_", "_@_"
TOOL_PREFIX: Final = "tools_^_"
TOOL_PIN: Final = "tools"
_TOOL_SEPARATOR = "_~_"
_DELIMITERS = (LIST, DICT, OBJECT)
# A path may not make a list longer than this: `rows_$_999999999` would fill the memory.
MAX_LIST_INDEX = 100_000
# Nor may it nest values deeper than the rest of the system can carry.
MAX_STEPS = 50


class Step(NamedTuple):
    """One step of a path: how to go (`_$_`, `_#_` or `_@_`) and where (index, key or attribute as written)."""

    delimiter: str
    token: str


class Attributes(dict[str, Any]):
    """What `_@_` builds on the sink side. JSON shows it as an object."""


class _Nothing:
    """The type of `NOTHING`."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()


@lru_cache(maxsize=8192)
def split_pin(name: str) -> tuple[str, tuple[Step, ...]]:
    """Base name and path. A malformed path (an empty step) makes the whole name a plain one."""
    base, rest = _cut(name)
    steps: list[Step] = []
    while rest:
        delimiter = rest[:3]
        token, rest = _cut(rest[3:])
        if not token:
            return name, ()
        steps.append(Step(delimiter, token))
    return base, tuple(steps)


def base_name(name: str) -> str:
    """The pin that a (dynamic) name belongs to; `tools` for all tool pins."""
    if name.startswith(TOOL_PREFIX):
        return TOOL_PIN
    return _cut(name)[0]


def merge_inputs(data: Mapping[str, Any]) -> dict[str, Any]:
    """Puts every value with a path in its name into the pin it belongs to, in the order of the keys; the flat keys stay.

    What the pin holds at that moment is extended, or replaced where it is of another kind; `data` itself is left alone. Raises ValueError
    for an index that is no integer and a path beyond MAX_STEPS, IndexError for one before the start or beyond MAX_LIST_INDEX.
    """
    if not any(split_pin(name)[1] for name in data):
        return dict(data)
    merged: dict[str, Any] = {}
    for name, value in data.items():
        base, steps = split_pin(name)
        merged[name] = value
        if len(steps) > MAX_STEPS:
            raise ValueError(f"the path in {name[:100]!r} has more than {MAX_STEPS} steps")
        if steps:
            merged[base] = _placed(merged.get(base), steps, value)
    return merged


def select_output(pin: str, value: Any, source_name: str, sink_node: str = "", sink_pin: str = "") -> Any:
    """What a link whose source is `source_name` carries of `value` emitted on `pin`; NOTHING when it carries nothing.

    A selector that finds nothing, or finds null, carries nothing; an exact name carries whatever came, null too.
    """
    if pin == source_name:
        return value
    is_tool = pin.startswith(TOOL_PREFIX)
    found = _routed(pin, value, source_name, sink_node, sink_pin) if is_tool else _selected(pin, value, source_name)
    return NOTHING if found is None else found


def _cut(text: str) -> tuple[str, str]:
    """Text before the first delimiter, and the rest from that delimiter on."""
    found = [at for at in map(text.find, _DELIMITERS) if at >= 0]
    if not found:
        return text, ""
    first = min(found)
    return text[:first], text[first:]


def _selected(pin: str, value: Any, source_name: str) -> Any:
    if source_name[len(pin) : len(pin) + 3] not in _DELIMITERS or not source_name.startswith(pin):
        return None
    base, steps = split_pin(source_name[len(pin) :])
    if base or not steps:
        return None
    for step in steps:
        value = _child(value, step)
        if value is None:
            return None
    return value


def _child(value: Any, step: Step) -> Any:
    delimiter, token = step
    if delimiter == DICT:
        return value.get(token) if isinstance(value, dict) else None
    if delimiter == OBJECT:
        return value.get(token) if isinstance(value, Attributes) else None
    if not isinstance(value, list):
        return None
    try:
        return value[int(token)]
    except (ValueError, IndexError):
        return None


def _routed(pin: str, value: Any, source_name: str, sink_node: str, sink_pin: str) -> Any:
    """Tool pins name the node and pin they are meant for; the label on the link does not matter."""
    if source_name != TOOL_PIN and not source_name.startswith(TOOL_PREFIX):
        return None
    node, separator, name = pin.removeprefix(TOOL_PREFIX).partition(_TOOL_SEPARATOR)
    return value if separator and node == sink_node and name == sink_pin else None


def _placed(holder: Any, steps: tuple[Step, ...], value: Any) -> Any:
    """A copy of `holder` with `value` at the end of the path. Only what lies on the path is copied."""
    if not steps:
        return value
    (delimiter, token), rest = steps[0], steps[1:]
    if delimiter == LIST:
        return _placed_in_list(holder, token, rest, value)
    wanted: type[dict[str, Any]] = Attributes if delimiter == OBJECT else dict
    copy = wanted(holder) if isinstance(holder, dict) and isinstance(holder, Attributes) == (wanted is Attributes) else wanted()
    copy[token] = _placed(copy.get(token), rest, value)
    return copy


def _placed_in_list(holder: Any, token: str, rest: tuple[Step, ...], value: Any) -> list[Any]:
    try:
        index = int(token)
    except ValueError:
        raise ValueError("index must be an integer") from None
    items = list(holder) if isinstance(holder, list | str) else []
    if index > MAX_LIST_INDEX or index < -len(items):
        raise IndexError(f"list index {index} is out of range")
    items.extend([None] * (index + 1 - len(items)))
    items[index] = _placed(items[index], rest, value)
    return items
