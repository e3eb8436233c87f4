"""What the JSON mapping needs to know of a proto field."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from mesh.contract import ContractError
from mesh.http.forms import BytesForm, DurationForm, Form, Int64Form, MaskForm, TimeForm, UInt64Form
from mesh.maporder import order_fields

JSON_VALUE = "treadle.type.v1.JsonValue"


class Kind(Enum):
    """How a single value of a field looks in JSON."""

    STRING = auto()
    BOOL = auto()
    INT32 = auto()
    UINT32 = auto()
    DOUBLE = auto()
    ENUM = auto()
    FORM = auto()
    JSON = auto()
    MESSAGE = auto()


_KINDS: Mapping[int, Kind] = {
    FieldDescriptor.TYPE_STRING: Kind.STRING,
    FieldDescriptor.TYPE_BOOL: Kind.BOOL,
    FieldDescriptor.TYPE_INT32: Kind.INT32,
    FieldDescriptor.TYPE_SINT32: Kind.INT32,
    FieldDescriptor.TYPE_SFIXED32: Kind.INT32,
    FieldDescriptor.TYPE_UINT32: Kind.UINT32,
    FieldDescriptor.TYPE_FIXED32: Kind.UINT32,
    FieldDescriptor.TYPE_DOUBLE: Kind.DOUBLE,
    FieldDescriptor.TYPE_FLOAT: Kind.DOUBLE,
    FieldDescriptor.TYPE_ENUM: Kind.ENUM,
    FieldDescriptor.TYPE_MESSAGE: Kind.MESSAGE,
}
_FORMS: Mapping[int, Form] = {
    FieldDescriptor.TYPE_INT64: Int64Form,
    FieldDescriptor.TYPE_SINT64: Int64Form,
    FieldDescriptor.TYPE_SFIXED64: Int64Form,
    FieldDescriptor.TYPE_UINT64: UInt64Form,
    FieldDescriptor.TYPE_FIXED64: UInt64Form,
    FieldDescriptor.TYPE_BYTES: BytesForm,
}
_MESSAGE_FORMS: Mapping[str, Form] = {
    "google.protobuf.Timestamp": TimeForm,
    "google.protobuf.Duration": DurationForm,
    "google.protobuf.FieldMask": MaskForm,
}
# Whole numbers that JSON holds as numbers.
INT32_RANGE = (-(2**31), 2**31 - 1)
UINT32_RANGE = (0, 2**32 - 1)


def kind_of(field: FieldDescriptor) -> Kind:
    """The kind of one value of the field. Raises ContractError for types that the contracts do not use."""
    if form_of(field) is not None:
        return Kind.FORM
    kind = _KINDS.get(field.type)
    if kind is not Kind.MESSAGE:
        if kind is None:
            raise ContractError(f"{field.full_name}: its type has no JSON form here")
        return kind
    name = message_of(field).full_name
    if name == JSON_VALUE:
        return Kind.JSON
    if name.startswith("google.protobuf."):
        raise ContractError(f"{field.full_name}: {name} has no JSON form here")
    return Kind.MESSAGE


def form_of(field: FieldDescriptor) -> Form | None:
    """The form of a field of Kind.FORM."""
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _MESSAGE_FORMS.get(message_of(field).full_name)
    return _FORMS.get(field.type)


def map_parts(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor] | None:
    """The key and the value field of a map; None when the field is no map. Raises ContractError for keys that are not strings."""
    if field.type != FieldDescriptor.TYPE_MESSAGE or not message_of(field).GetOptions().map_entry:
        return None
    parts = message_of(field).fields_by_name
    if parts["key"].type != FieldDescriptor.TYPE_STRING:
        raise ContractError(f"{field.full_name}: keys of maps must be strings")
    return parts["key"], parts["value"]


def shown_fields(descriptor: Descriptor) -> list[FieldDescriptor]:
    """The fields of a message that JSON has: all but those that hold the order of a map."""
    orders = order_fields(descriptor)
    return [field for field in descriptor.fields if field.name not in orders]


def message_of(field: FieldDescriptor) -> Descriptor:
    """The message type of a message field."""
    return cast(Descriptor, field.message_type)


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """The enum type of an enum field."""
    return cast(EnumDescriptor, field.enum_type)


def real_oneofs(descriptor: Descriptor) -> list[tuple[str, ...]]:
    """The oneofs of a message as tuples of field names, without those that only carry `optional`."""
    groups = [tuple(field.name for field in oneof.fields) for oneof in descriptor.oneofs if not oneof.name.startswith("_")]
    return [group for group in groups if group]


def enum_names(field: FieldDescriptor) -> dict[int, str]:
    """Number to name; of aliases the first."""
    names: dict[int, str] = {}
    for value in enum_of(field).values:
        names.setdefault(value.number, value.name)
    return names
