"""Messages to JSON: snake_case, every field without presence printed, unset fields with presence left out, JsonValue inline.

A JsonValue without text is left out, or null inside lists and maps. Maps have the order that a field beside them holds, else they are
sorted by key: protobuf keeps no order of theirs.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh.contract import ContractError
from mesh.http.fields import Kind, enum_names, form_of, kind_of, map_parts, message_of, shown_fields
from mesh.http.forms import BytesForm, DurationForm, Int64Form, TimeForm, write_bytes, write_duration, write_time
from mesh.http.shapes import values_getter
from mesh.maporder import in_order, order_of

# From a field's value to what orjson prints.
Show = Callable[[Any], Any]
# A step that amends a half-shown message: takes the message and its shown fields.
_Step = Callable[[Any, dict[str, Any]], None]

_encoders: dict[str, "MessageEncoder"] = {}


class MessageEncoder:
    """Shows messages of one type as dicts that orjson prints."""

    def __init__(self, descriptor: Descriptor) -> None:
        """Call `fill` before use: messages may contain themselves."""
        self._names = tuple(field.name for field in shown_fields(descriptor))
        self._values = values_getter(list(self._names))
        self._steps: tuple[_Step, ...] = ()

    def fill(self, descriptor: Descriptor) -> None:
        """Learns the fields."""
        self._steps = tuple(step for field in shown_fields(descriptor) if (step := _step(field)) is not None)

    def show(self, message: Message) -> dict[str, Any]:
        """The message as a dict in the order of its fields; JsonValues are spliced in when orjson prints it."""
        shown = dict(zip(self._names, self._values(message), strict=True))
        for step in self._steps:
            step(message, shown)
        return shown


def encoder_of(descriptor: Descriptor) -> MessageEncoder:
    """The encoder of a message type. Raises ContractError when a field has no JSON form."""
    known = _encoders.get(descriptor.full_name)
    if known is None:
        known = _encoders[descriptor.full_name] = MessageEncoder(descriptor)
        known.fill(descriptor)
    return known


def to_json(message: Message) -> bytes:
    """A message as JSON, just as REST shows it."""
    return orjson.dumps(encoder_of(cast(Descriptor, message.DESCRIPTOR)).show(message))


def response_writer(descriptor: Descriptor, response_body: str) -> Callable[[Message], bytes]:
    """Compiles the writer for a response, or for the one field of it that `response_body` names."""
    if not response_body:
        show_message = encoder_of(descriptor).show
        return lambda message: orjson.dumps(show_message(message))
    field = descriptor.fields_by_name.get(response_body)
    if field is None:
        raise ContractError(f"{descriptor.full_name} has no field {response_body}")
    show = _show_field(field)
    return lambda message: orjson.dumps(show(getattr(message, response_body)))


def _step(field: FieldDescriptor) -> _Step | None:
    """What has to happen to a field after its raw value was put into the dict; None when that is right already."""
    name = field.name
    if order_of(field):
        return _ordered_map_step(field)
    show = _show_field(field)
    if not field.is_repeated and kind_of(field) is Kind.JSON:

        def show_json(message: Any, shown: dict[str, Any]) -> None:
            text = shown[name].json
            if text:
                shown[name] = orjson.Fragment(text)
            else:
                del shown[name]

        return show_json
    if field.has_presence:

        def show_present(message: Any, shown: dict[str, Any]) -> None:
            if message.HasField(name):
                shown[name] = show(shown[name])
            else:
                del shown[name]

        return show_present
    if show is _as_is:
        return None

    def show_always(message: Any, shown: dict[str, Any]) -> None:
        shown[name] = show(shown[name])

    return show_always


def _ordered_map_step(field: FieldDescriptor) -> _Step:
    name, order, parts = field.name, order_of(field), map_parts(field)
    show_value = _show_single(parts[1]) if parts is not None else _as_is

    def show_in_order(message: Any, shown: dict[str, Any]) -> None:
        items = shown[name]
        shown[name] = {key: show_value(items[key]) for key in in_order(items, getattr(message, order))}

    return show_in_order


def _show_field(field: FieldDescriptor) -> Show:
    parts = map_parts(field)
    if parts is not None:
        show_value = _show_single(parts[1])
        return lambda items: {key: show_value(items[key]) for key in sorted(items)}
    show = _show_single(field)
    if not field.is_repeated:
        return show
    return list if show is _as_is else lambda items: [show(item) for item in items]


def _show_single(field: FieldDescriptor) -> Show:
    kind = kind_of(field)
    if kind is Kind.MESSAGE:
        return encoder_of(message_of(field)).show
    if kind is Kind.JSON:
        return _show_json
    if kind is Kind.ENUM:
        names = enum_names(field)
        return lambda number: names.get(number, number)
    if kind is Kind.DOUBLE:
        return _show_double
    if kind is Kind.FORM:
        return _show_form(field)
    return _as_is


def _show_form(field: FieldDescriptor) -> Show:
    form = form_of(field)
    if form is TimeForm:
        return lambda value: write_time(value.seconds, value.nanos)
    if form is DurationForm:
        return lambda value: write_duration(value.seconds, value.nanos)
    if form is BytesForm:
        return write_bytes
    if form is not None and issubclass(form, Int64Form):
        return str
    return lambda value: ",".join(value.paths)


def _as_is(value: Any) -> Any:
    return value


def _show_json(value: Any) -> Any:
    return orjson.Fragment(value.json) if value.json else None


def _show_double(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
