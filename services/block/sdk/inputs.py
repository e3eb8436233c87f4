"""Makes a block's input of a node's constants and the values that arrived: merged, converted, checked. Compiled once per block class."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError

from services.block.sdk.base import Block, PinModel
from services.block.sdk.checks import Check, value_check
from services.block.sdk.coercion import coercer
from services.block.sdk.errors import BlockInputError
from services.block.sdk.pins import merge_inputs, split_pin

# Types whose converted values need no second look.
_TOTAL = frozenset({str, float, bool, list, dict})


@dataclass(frozen=True, slots=True)
class Prepared:
    """The input of a firing that can run: values by pin, with the flat keys of dynamic pins beside them."""

    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NotReady:
    """Why a firing cannot run (yet). `missing` names the pins that lack a value."""

    reason: str
    missing: tuple[str, ...] = ()


class InputPlan:
    """What is known about the input pins of one block class. Immutable; safe to share."""

    __slots__ = ("_checks", "_coercers", "_model", "_open", "names", "required")

    def __init__(self, model: type[PinModel]) -> None:
        """Compiles the pins of `model`."""
        self._model = model
        schema = model.model_json_schema()
        properties = schema.get("properties", {})
        definitions = schema.get("$defs", {})
        self.names: frozenset[str] = frozenset(properties)
        self.required: tuple[str, ...] = tuple(schema.get("required", ()))
        self._coercers: list[tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = []
        self._checks: list[tuple[str, Check]] = []
        # Pins that take a dictionary with any keys: a list arrives there with integers for keys, which no JSON object has.
        self._open: list[str] = []
        for field_name, info in model.model_fields.items():
            name = info.alias or field_name
            annotation: Any = info.annotation
            found = coercer(annotation)
            if found is not None:
                self._coercers.append((name, found.fits, found.convert))
            if _takes_any_keys(annotation):
                self._open.append(name)
            check = value_check(annotation, properties[name], definitions, info.discriminator)
            if check is not None and not (_is_total(annotation) and _is_plain(properties[name])):
                self._checks.append((name, check))

    def prepare(self, constants: Mapping[str, Any], arrived: Mapping[str, Any], linked: Iterable[str] = ()) -> Prepared | NotReady:
        """The input of a firing. `linked` are the sink pins (with their paths) that links lead to; each must be in `arrived`, null counts.

        Order: linked pins present, constants under data, dynamic pins merged, values converted, required pins, JSON Schema without nulls.
        """
        missing = tuple(name for name in linked if name not in arrived)
        if missing:
            return NotReady(f"no value arrived at {', '.join(missing)}", missing)
        data = {**constants, **arrived}
        for name in data:
            if split_pin(name)[1]:
                try:
                    data = merge_inputs(data)
                except (ValueError, IndexError) as error:
                    return NotReady(str(error))
                break
        return self.check(data)

    def check(self, data: dict[str, Any]) -> Prepared | NotReady:
        """Converts and checks merged data in place: the steps after merging."""
        try:
            for name, fits, convert in self._coercers:
                value = data.get(name)
                if value is not None and not fits(value):
                    data[name] = convert(value)
        except (ValueError, TypeError) as error:
            return NotReady(f"{name}: {error}")
        for name in self.required:
            if data.get(name) is None:
                missing = tuple(name for name in self.required if data.get(name) is None)
                return NotReady(f"required but without a value: {', '.join(missing)}", missing)
        for name, check in self._checks:
            value = data.get(name)
            if value is not None:
                problem = check(value)
                if problem is not None:
                    return NotReady(f"{name}: {problem}")
        return Prepared(data)

    def model(self, data: Mapping[str, Any]) -> PinModel:
        """The typed input for `run`; nulls give way to defaults. Raises BlockInputError."""
        values = {name: value for name, value in data.items() if value is not None}
        for name in self._open:
            value = values.get(name)
            if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
                raise BlockInputError(f"{name}: Dict key must be str")
        try:
            return self._model.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False, include_input=False)
            )
            raise BlockInputError(problems) from error


def input_plan(block: Block) -> InputPlan:
    """The plan of a block's input pins."""
    return _plan_of(type(block).Input)


@cache
def _plan_of(model: type[PinModel]) -> InputPlan:
    return InputPlan(model)


def _takes_any_keys(annotation: Any) -> bool:
    if get_origin(annotation) in {Union, UnionType}:
        return any(map(_takes_any_keys, get_args(annotation)))
    return (get_origin(annotation) or annotation) is dict and str not in get_args(annotation)[:1]


def _is_total(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    if origin not in _TOTAL:
        return False
    return all(part is Any or part is str for part in get_args(annotation))


def _is_plain(schema: Mapping[str, Any]) -> bool:
    """No constraint beside the type."""
    return not schema.keys() - {
        "description", "title", "default", "secret", "advanced", "hidden", "placeholder", "type", "items", "additionalProperties",
    }  # fmt: skip
