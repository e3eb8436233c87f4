"""msgspec types made from message descriptors: the fast reader of JSON bodies.

A message becomes a Struct that forbids unknown fields. A field that is absent or null is None; a JsonValue is kept as its text, where null
is a value. A read Struct turns into the dict that the message's constructor takes.
"""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh.http.fields import INT32_RANGE, UINT32_RANGE, Kind, enum_names, enum_of, form_of, kind_of, map_parts, message_of, shown_fields
from mesh.maporder import order_of

# From what msgspec read to what a message constructor takes; None where these are the same.
Convert = Callable[[Any], Any] | None

_INT32 = Annotated[int, msgspec.Meta(ge=INT32_RANGE[0], le=INT32_RANGE[1])]
_UINT32 = Annotated[int, msgspec.Meta(ge=UINT32_RANGE[0], le=UINT32_RANGE[1])]
_PLAIN: dict[Kind, Any] = {
    Kind.STRING: str,
    Kind.BOOL: bool,
    Kind.INT32: _INT32,
    Kind.UINT32: _UINT32,
    Kind.DOUBLE: float | Literal["NaN", "Infinity", "-Infinity"],
    Kind.JSON: msgspec.Raw,
}


class Shape:
    """The Struct of one message, and the way from its instances to constructor arguments."""

    def __init__(self, descriptor: Descriptor) -> None:
        """Call `_fill` before use: messages may contain themselves."""
        names = [field.name for field in shown_fields(descriptor)]
        self.struct = msgspec.defstruct(
            descriptor.name, [(name, Any, None) for name in names], forbid_unknown_fields=True, gc=False, module=__name__
        )
        self._plan: tuple[tuple[str, Convert], ...] = ()
        # Maps, and the fields that take the order of their keys.
        self._orders: tuple[tuple[str, str], ...] = ()
        self._values: Callable[[Any], tuple[Any, ...]] = values_getter(names)

    def fill(self, descriptor: Descriptor) -> None:
        """Learns the types of the fields."""
        plan: list[tuple[str, Convert]] = []
        for field in shown_fields(descriptor):
            field_type, convert = field_shape(field)
            # A JsonValue takes null as a value, so only its default may be None.
            self.struct.__annotations__[field.name] = field_type if field_type is msgspec.Raw else field_type | None
            plan.append((field.name, convert))
        self._plan = tuple(plan)
        self._orders = tuple((field.name, order) for field in descriptor.fields if (order := order_of(field)))

    def arguments(self, value: Any) -> dict[str, Any]:
        """What the message's constructor takes."""
        taken: dict[str, Any] = {}
        for (name, convert), item in zip(self._plan, self._values(value), strict=True):
            if item is not None:
                taken[name] = item if convert is None else convert(item)
        for name, order in self._orders:
            if name in taken:
                taken[order] = list(taken[name])
        return taken


_shapes: dict[str, Shape] = {}


def shape_of(descriptor: Descriptor) -> Shape:
    """The shape of a message. Raises ContractError when a field has no JSON form."""
    known = _shapes.get(descriptor.full_name)
    if known is None:
        known = _shapes[descriptor.full_name] = Shape(descriptor)
        known.fill(descriptor)
    return known


def field_shape(field: FieldDescriptor) -> tuple[Any, Convert]:
    """The type that msgspec reads for a whole field, and how its value goes on."""
    parts = map_parts(field)
    if parts is not None:
        value_type, convert = _single(parts[1])
        return dict[str, value_type], None if convert is None else _over_values(convert)  # type: ignore[valid-type]
    single_type, convert = _single(field)
    if field.is_repeated:
        return list[single_type], None if convert is None else _over_items(convert)  # type: ignore[valid-type]
    return single_type, convert


@cache
def decoder(field_type: Any) -> msgspec.json.Decoder[Any]:
    """A reader of the type; make it only when all shapes that it reaches are filled."""
    return msgspec.json.Decoder(field_type, dec_hook=_read_form)


def values_getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Reads the attributes in one step; always gives a tuple."""
    if not names:
        return lambda _: ()
    getter = attrgetter(*names)
    if len(names) == 1:
        return lambda value: (getter(value),)
    return getter


def _single(field: FieldDescriptor) -> tuple[Any, Convert]:
    kind = kind_of(field)
    if kind is Kind.MESSAGE:
        shape = shape_of(message_of(field))
        return shape.struct, shape.arguments
    if kind is Kind.ENUM:
        numbers = {name: number for number, name in enum_names(field).items()}
        numbers |= {value.name: value.number for value in enum_of(field).values}
        return _INT32 | Literal[tuple(numbers)], lambda value: numbers.get(value, value)
    if kind is Kind.FORM:
        return form_of(field), None
    return _PLAIN[kind], _CONVERT.get(kind)


def _json_value(raw: msgspec.Raw) -> dict[str, str]:
    return {"json": str(raw, "utf-8")}


_CONVERT: dict[Kind, Callable[[Any], Any]] = {Kind.JSON: _json_value, Kind.DOUBLE: float}


def _over_items(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda items: [convert(item) for item in items]


def _over_values(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda items: {key: convert(item) for key, item in items.items()}


def _read_form(form: Any, value: Any) -> Any:
    return form.read(value)
