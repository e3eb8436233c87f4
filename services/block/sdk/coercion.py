"""Conversion of values to the type of the pin they arrive at.

A pin takes what it can make sense of: "3" for a number, a JSON text for a list, a lone value for a list of one. Only types of JSON are
converted; enums, models and formats are left to the check that follows. A type is compiled into two functions.
"""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from mesh.jsoncheck import TooDeepError
from services.block.sdk.jsonread import read_json

_TRUE_TEXTS = frozenset({"true", "1"})


@dataclass(frozen=True, slots=True)
class Coercer:
    """`fits` tells whether a value may stay as it is; `convert` makes it fit. Neither is asked about a null that arrives at a pin."""

    fits: Callable[[Any], bool]
    convert: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        """The value for the pin. Raises ValueError when there is none."""
        return value if value is None or self.fits(value) else self.convert(value)


def coercer(annotation: Any) -> Coercer | None:
    """The coercer of a type; None for types that are never converted (Any, enums, models, …).

    Not cached by type on purpose: `int | str` equals `str | int`, yet they convert differently.
    """
    if get_origin(annotation) is Annotated:
        return coercer(get_args(annotation)[0])
    origin = get_origin(annotation) or annotation
    if origin is Union or origin is types.UnionType:
        return _union(get_args(annotation))
    if origin is list:
        return _list(get_args(annotation))
    if origin is dict:
        return _dict(get_args(annotation))
    return _SCALARS.get(origin)


def convert(value: Any, annotation: Any) -> Any:
    """`value` as an element of that type: always converted, in a union to the first member."""
    found = coercer(annotation)
    return value if found is None else found.convert(value)


def _to_str(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _to_float(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, list | dict):
        return float(len(value))
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _to_int(value: Any) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        # Digits are read as they are: by way of a float they would be rounded beyond 2^53.
        try:
            return int(value)
        except ValueError:
            pass
    try:
        return int(_to_float(value))
    except (ValueError, OverflowError):
        return 0


def _to_bool(value: Any) -> bool:
    return value.lower() in _TRUE_TEXTS if isinstance(value, str) else bool(value)


def _to_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [[key, item] for key, item in value.items()]
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]"):
            parsed = _parsed(text, None)
            if isinstance(parsed, list):
                return parsed
        return [text]
    return [value]


def _to_dict(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return dict(enumerate(value))
    if isinstance(value, str):
        value = _parsed(value, value)
    return value if isinstance(value, dict) else {"value": value}


def _parsed(text: str, default: Any) -> Any:
    try:
        return read_json(text)
    except TooDeepError:
        # Taken for a text, it would go on and only surprise somebody later.
        raise
    except ValueError:
        return default


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


_SCALARS: Mapping[Any, Coercer] = {
    str: Coercer(_is(str), _to_str),
    int: Coercer(_is(int), _to_int),
    float: Coercer(_is(float), _to_float),
    bool: Coercer(_is(bool), _to_bool),
}


def _union(members: tuple[Any, ...]) -> Coercer | None:
    compiled = [coercer(member) for member in members if member is not type(None)]
    known = [member for member in compiled if member is not None]
    if not known:
        return None
    checks = [member.fits for member in known]
    first = compiled[0]
    accepts_rest = len(known) < len(compiled)

    def fits(value: Any) -> bool:
        # What cannot be converted is left to the schema check.
        return accepts_rest or any(check(value) for check in checks)

    def to_first(value: Any) -> Any:
        return value if value is None or first is None else first.convert(value)

    return Coercer(fits, to_first)


def _list(args: tuple[Any, ...]) -> Coercer:
    element = coercer(args[0]) if args else None
    if element is None:
        return Coercer(_is(list), _to_list)
    fits_one, convert_one = element.fits, element.convert

    def fits(value: Any) -> bool:
        return isinstance(value, list) and all(map(fits_one, value))

    def to_list(value: Any) -> list[Any]:
        return [convert_one(item) for item in _to_list(value)]

    return Coercer(fits, to_list)


def _dict(args: tuple[Any, ...]) -> Coercer:
    key, item = (coercer(args[0]), coercer(args[1])) if args else (None, None)
    if key is None and item is None:
        return Coercer(_is(dict), _to_dict)

    def fits(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return (key is None or all(map(key.fits, value))) and (item is None or all(map(item.fits, value.values())))

    def to_dict(value: Any) -> dict[Any, Any]:
        return {
            (name if key is None else key.convert(name)): (entry if item is None else item.convert(entry))
            for name, entry in _to_dict(value).items()
        }

    return Coercer(fits, to_dict)
