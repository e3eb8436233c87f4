"""Checks what a block emits and turns it into plain JSON values. Compiled once per block class."""

import json
import math
from collections.abc import Collection
from typing import Any

import msgspec
from pydantic import BaseModel

from mesh.jsoncheck import MAX_DEPTH, TooDeepError
from services.block.sdk.base import Block
from services.block.sdk.checks import Check, value_check
from services.block.sdk.errors import BlockError, BlockOutputError
from services.block.sdk.kinds import BlockType

ERROR_PIN = "error"
_ATOMS = frozenset({str, int, float, bool, type(None)})
_TEXT = frozenset({str})
_PLANS: "dict[type[Block], OutputPlan]" = {}


class OutputPlan:
    """What is known about the output pins of one block class. Immutable; safe to share."""

    __slots__ = ("_checks", "_has_error", "_is_checked")

    def __init__(self, block: type[Block]) -> None:
        """Compiles the pins of `block.Output`."""
        schema = block.Output.model_json_schema(mode="serialization")
        definitions = schema.get("$defs", {})
        self._has_error = ERROR_PIN in block.Output.model_fields
        self._is_checked = block.block_type is BlockType.STANDARD
        self._checks: dict[str, Check | None] = {}
        for field_name, info in block.Output.model_fields.items():
            name = info.alias or field_name
            self._checks[name] = value_check(info.annotation, schema["properties"][name], definitions)

    def emit(self, pin: str, value: Any) -> Any:
        """The value as plain JSON. Raises BlockError for the pin `error`, BlockOutputError when the value does not fit its pin."""
        if pin == ERROR_PIN and self._has_error:
            raise BlockError(value if isinstance(value, str) else str(value))
        if type(value) not in _ATOMS:
            value = jsonable(value)
        if self._is_checked:
            if pin not in self._checks:
                raise BlockOutputError(f"there is no output pin {pin}")
            check = self._checks[pin]
            problem = check(value) if check is not None else None
            if problem is not None:
                raise BlockOutputError(f"{pin}: {problem}")
        # JSON has no infinity: what goes on must be what a replay of the journal would read.
        return None if type(value) is float and not math.isfinite(value) else value


def jsonable(value: Any) -> Any:
    """A copy of `value` of plain JSON types: models become objects, enums their values, times ISO text, sets and tuples lists.

    JSON has no infinity: what is not finite becomes null. Raises BlockOutputError for what JSON cannot hold and what nests too deep.
    """
    try:
        return _plain(value, MAX_DEPTH)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise BlockOutputError(str(error) or type(error).__name__) from error


def _plain(value: Any, levels: int) -> Any:
    """`levels` is how deep the value may nest."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind in _ATOMS:
        return value
    if not levels:
        raise TooDeepError
    if isinstance(value, dict):
        return _plain_dict(value, levels - 1)
    if isinstance(value, list | tuple | set | frozenset):
        # Most lists hold atoms only; looking at all types at once is many times faster than at each.
        return list(value) if _are_plain_atoms(value) else [_plain(item, levels - 1) for item in value]
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"), levels)
    return msgspec.to_builtins(value, str_keys=True)


def _are_plain_atoms(values: Collection[Any]) -> bool:
    kinds = set(map(type, values))
    return kinds <= _ATOMS and (float not in kinds or all(math.isfinite(value) for value in values if type(value) is float))


def _plain_dict(value: dict[Any, Any], levels: int) -> dict[str, Any]:
    if not _TEXT.issuperset(map(type, value)):
        value = {_key(key): item for key, item in value.items()}
    if _are_plain_atoms(value.values()):
        return dict(value)
    return {key: _plain(item, levels) for key, item in value.items()}


def _key(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else json.dumps(key)


def output_plan(block: Block) -> OutputPlan:
    """The plan of a block's output pins."""
    found = _PLANS.get(type(block))
    if found is None:
        found = _PLANS[type(block)] = OutputPlan(type(block))
    return found
