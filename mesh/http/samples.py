"""Sample values of messages, for examples in documents: deterministic, and valid by the rules of the contracts.

What a rule cannot say, such as which block a graph should have, the `rest.example` of a method says.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh.http.fields import Kind, enum_of, form_of, kind_of, map_parts, message_of, real_oneofs, shown_fields
from mesh.http.forms import BytesForm, DurationForm, Form, MaskForm, TimeForm

UUID = "0198c5a0-7a3e-7c1d-9b52-3f1a6d2e8c40"
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_PAGE = "WzE3NjcyMjU2MDAwMDAwMDAsIjAxOThjNWEwIl0"
_WORDS: Mapping[str, str] = {
    "email": "ada@treadle.example",
    "password": "correct horse battery staple",
    "name": "Monthly report",
    "display_name": "Ada",
    "timezone": "Europe/Vienna",
    "page_token": _PAGE,
    "next_page_token": _PAGE,
    "sha256": _DIGEST,
    "request_id": UUID,
    "id": UUID,
}
_FORMS: Mapping[Form | None, str] = {
    TimeForm: "2026-01-31T12:00:00Z",
    DurationForm: "1.5s",
    MaskForm: "",
    BytesForm: "AAEC",
}
_SIMPLE: Mapping[Kind, Any] = {Kind.BOOL: True, Kind.DOUBLE: 1.5, Kind.JSON: 42}


def sample(descriptor: Descriptor, left_out: Iterable[str] = (), above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A message as JSON, less the fields `left_out`; of a oneof the first member. Messages inside themselves are left out."""
    gone = {*left_out, *(name for group in real_oneofs(descriptor) for name in group[1:])}
    above = (*above, descriptor.full_name)
    return {
        field.name: sample_of(field, above) for field in shown_fields(descriptor) if field.name not in gone and not _repeats(field, above)
    }


def sample_of(field: FieldDescriptor, above: tuple[str, ...] = ()) -> Any:
    """A value of a whole field."""
    parts = map_parts(field)
    if parts is not None:
        return {"name": _single(parts[1], above)}
    return [_single(field, above)] if field.is_repeated else _single(field, above)


def _repeats(field: FieldDescriptor, above: tuple[str, ...]) -> bool:
    parts = map_parts(field)
    value = parts[1] if parts else field
    return kind_of(value) is Kind.MESSAGE and message_of(value).full_name in above


def _single(field: FieldDescriptor, above: tuple[str, ...]) -> Any:
    kind = kind_of(field)
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if field.is_repeated:
        rules = rules.repeated.items
    if kind is Kind.MESSAGE:
        return sample(message_of(field), above=above)
    if kind is Kind.ENUM:
        values = [value.name for value in enum_of(field).values]
        return values[min(1, len(values) - 1)]
    if kind is Kind.FORM:
        return _FORMS.get(form_of(field), "1")
    if kind is Kind.STRING:
        return _text(field.name, rules.string)
    if kind in {Kind.INT32, Kind.UINT32}:
        return max(1, rules.int32.gte)
    return _SIMPLE[kind]


def _text(name: str, rules: validate_pb2.StringRules) -> str:
    allowed = getattr(rules, "in")
    if allowed:
        return str(allowed[0])
    known = _WORDS.get(name) or (UUID if rules.uuid or name.endswith("_id") else name.replace("_", " "))
    if rules.email:
        known = _WORDS["email"]
    return known[: rules.max_len] if rules.max_len else known
