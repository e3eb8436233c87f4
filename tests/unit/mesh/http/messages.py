"""Random messages of any type of the contracts."""

import json
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from mesh.http.fields import Kind, enum_of, form_of, kind_of, map_parts, message_of, shown_fields
from mesh.http.forms import BytesForm, DurationForm, Int64Form, MaskForm, TimeForm
from mesh.maporder import order_of

# Surrogates are no characters; everything else is text.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
JSON_TEXTS = st.builds(lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only), JSON_VALUES, st.booleans())
MAX_LEVELS = 3


def messages(descriptor: Descriptor, level: int = 0) -> st.SearchStrategy[Message]:
    """Messages that have a JSON form: a JsonValue holds text, and the order of a map names all its keys."""
    orders = {order: field.name for field in descriptor.fields if (order := order_of(field))}
    fields = {
        field.name: _whole(field, level)
        for field in shown_fields(descriptor)
        if not (level >= MAX_LEVELS and kind_of(field) is Kind.MESSAGE and map_parts(field) is None)
    }
    kind: Any = GetMessageClass(descriptor)

    def made(values: dict[str, Any]) -> Message:
        return cast(Message, kind(**values, **{order: list(values.get(name, ())) for order, name in orders.items()}))

    return st.fixed_dictionaries({}, optional=fields).map(made)


def _whole(field: FieldDescriptor, level: int) -> st.SearchStrategy[Any]:
    parts = map_parts(field)
    if parts is not None:
        return st.dictionaries(TEXT, _single(parts[1], level), max_size=3)
    return st.lists(_single(field, level), max_size=2) if field.is_repeated else _single(field, level)


def _single(field: FieldDescriptor, level: int) -> st.SearchStrategy[Any]:
    kind = kind_of(field)
    if kind is Kind.MESSAGE:
        return messages(message_of(field), level + 1)
    if kind is Kind.ENUM:
        return st.sampled_from([value.number for value in enum_of(field).values]) | st.integers(0, 2**31 - 1)
    if kind is Kind.FORM:
        return _form(field)
    simple: dict[Kind, st.SearchStrategy[Any]] = {
        Kind.STRING: TEXT,
        Kind.BOOL: st.booleans(),
        Kind.INT32: st.integers(-(2**31), 2**31 - 1),
        Kind.UINT32: st.integers(0, 2**32 - 1),
        Kind.DOUBLE: st.floats(allow_nan=False),
        Kind.JSON: JSON_TEXTS.map(lambda text: {"json": text}),
    }
    return simple[kind]


def _form(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    form = form_of(field)
    nanos = st.integers(0, 999_999_999)
    if form is TimeForm:
        return st.fixed_dictionaries({"seconds": st.integers(-62135596800, 253402300799), "nanos": nanos})
    if form is DurationForm:
        positive = st.fixed_dictionaries({"seconds": st.integers(0, 315_576_000_000), "nanos": nanos})
        return positive | positive.map(lambda value: {name: -number for name, number in value.items()})
    if form is MaskForm:
        return st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), max_size=3).map(lambda paths: {"paths": paths})
    if form is BytesForm:
        return st.binary(max_size=9)
    assert form is not None
    assert issubclass(form, Int64Form)
    return st.integers(form.lowest, form.highest)
