"""The slow reader: says everything that keeps a JSON value from being a message, each thing with its path.

It runs only after the fast reader refused the value, so that one answer names all mistakes.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh.errors import Violation
from mesh.http.fields import INT32_RANGE, UINT32_RANGE, Kind, enum_of, form_of, kind_of, map_parts, message_of, shown_fields

# More would only hide the first ones.
MAX_VIOLATIONS = 50
MAX_NAME_CHARS = 100

_NAMES = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object", type(None): "null"}
_TYPES: dict[Kind, tuple[type, str]] = {Kind.STRING: (str, "a string"), Kind.BOOL: (bool, "a boolean")}
_SPECIAL_DOUBLES = ("NaN", "Infinity", "-Infinity")


def explain_message(value: Any, descriptor: Descriptor) -> list[Violation]:
    """Violations of a whole body that should be the message."""
    return list(islice(_message(value, descriptor, ""), MAX_VIOLATIONS))


def explain_field(value: Any, field: FieldDescriptor) -> list[Violation]:
    """Violations of a whole body that should be the field."""
    return list(islice(_field(value, field, ""), MAX_VIOLATIONS))


def at_key(path: str, key: str) -> str:
    """The path of a map's value: `inputs["name"]`."""
    return f"{path}[{orjson.dumps(key).decode()}]"


def shown_name(name: str) -> str:
    """A name that the client made up, fit to be shown: never empty, never long."""
    return f"{name[:MAX_NAME_CHARS]}…" if len(name) > MAX_NAME_CHARS else name or '""'


def _message(value: Any, descriptor: Descriptor, path: str) -> Iterator[Violation]:
    if not isinstance(value, dict):
        yield _wrong(path, "an object", value)
        return
    known = {field.name: field for field in shown_fields(descriptor)}
    for name, item in value.items():
        field = known.get(name)
        if field is None:
            yield Violation(_join(path, shown_name(name)), f"unknown field; {_known(descriptor, name)}")
        elif item is not None:
            yield from _field(item, field, _join(path, name))


def _field(value: Any, field: FieldDescriptor, path: str) -> Iterator[Violation]:
    parts = map_parts(field)
    if parts is not None:
        if not isinstance(value, dict):
            yield _wrong(path, "an object", value)
            return
        for key, item in value.items():
            yield from _single(item, parts[1], at_key(path, key))
    elif field.is_repeated:
        if not isinstance(value, list):
            yield _wrong(path, "an array", value)
            return
        for index, item in enumerate(value):
            yield from _single(item, field, f"{path}[{index}]")
    else:
        yield from _single(value, field, path)


def _single(value: Any, field: FieldDescriptor, path: str) -> Iterator[Violation]:
    kind = kind_of(field)
    if kind is Kind.MESSAGE:
        yield from _message(value, message_of(field), path)
    elif kind is not Kind.JSON:
        wanted = _misses(value, field, kind)
        if wanted:
            yield _wrong(path, wanted, value)


def _misses(value: Any, field: FieldDescriptor, kind: Kind) -> str:
    """What a plain value should have been; empty when it is right."""
    if kind in _TYPES:
        wanted, name = _TYPES[kind]
        return "" if isinstance(value, wanted) else name
    if kind is Kind.DOUBLE:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number or value in _SPECIAL_DOUBLES else "a number"
    if kind is Kind.ENUM:
        is_known = value in enum_of(field).values_by_name if isinstance(value, str) else _is_integer(value, INT32_RANGE)
        return "" if is_known else f"one of {', '.join(enum_of(field).values_by_name)}"
    if kind is Kind.FORM and (form := form_of(field)) is not None:
        try:
            form.read(value)
        except ValueError:
            return form.wanted
        return ""
    low, high = UINT32_RANGE if kind is Kind.UINT32 else INT32_RANGE
    return "" if _is_integer(value, (low, high)) else f"an integer between {low} and {high}"


def _is_integer(value: Any, bounds: tuple[int, int]) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and bounds[0] <= value <= bounds[1]


def _wrong(path: str, wanted: str, value: Any) -> Violation:
    name = _NAMES[type(value)]
    got = "" if wanted == name else f", not {name}"
    return Violation(path or "body", f"must be {wanted}{got}")


def _known(descriptor: Descriptor, name: str) -> str:
    names = [field.name for field in shown_fields(descriptor)]
    if not names:
        return "there are no fields here"
    same = [known for known in names if known.replace("_", "") == name.replace("_", "").replace("-", "").lower()]
    return f"did you mean {same[0]}?" if same else f"known are {', '.join(names)}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
