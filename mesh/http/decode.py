"""JSON bodies to constructor arguments of request messages."""

from collections.abc import Callable
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor

from mesh import jsoncheck
from mesh.contract import ContractError
from mesh.errors import Violation
from mesh.http.errors import JsonInvalidError, request_invalid
from mesh.http.explain import explain_field, explain_message
from mesh.http.fields import Kind, kind_of, map_parts, message_of, real_oneofs
from mesh.http.shapes import decoder, field_shape, shape_of

Arguments = dict[str, Any]
# Takes the bytes of a body; gives arguments of the request. Raises InvalidArgumentError.
BodyReader = Callable[[bytes], Arguments]


def body_reader(descriptor: Descriptor, body: str) -> BodyReader | None:
    """Compiles the reader for `body` of an HTTP rule: "*" for the whole message, a field, or "" (None: no body is taken).

    Names are snake_case only. Of duplicate keys the last one wins. An empty body stands for `{}` with "*", and for an absent field else.
    Raises ContractError when a field has no JSON form.
    """
    if not body:
        return None
    if body == "*":
        return _message_reader(descriptor)
    field = descriptor.fields_by_name.get(body)
    if field is None:
        raise ContractError(f"{descriptor.full_name} has no field {body}")
    if map_parts(field) is None and not field.is_repeated:
        if kind_of(field) is Kind.JSON:
            return _json_reader(body)
        if kind_of(field) is Kind.MESSAGE:
            read = _message_reader(message_of(field))
            return lambda text: {body: read(text)} if text else {}
    field_type, convert = field_shape(field)

    def read_field(text: bytes) -> Arguments:
        if not text:
            return {}
        tree = _checked(text)
        try:
            value = decoder(field_type).decode(text)
        except msgspec.MsgspecError as error:
            raise request_invalid(explain_field(tree, field) or [_untold(error)]) from None
        return {body: value if convert is None else convert(value)}

    return read_field


def _message_reader(descriptor: Descriptor) -> BodyReader:
    shape = shape_of(descriptor)
    read = decoder(shape.struct).decode
    arguments = shape.arguments
    oneofs = real_oneofs(descriptor)

    def read_message(text: bytes) -> Arguments:
        if not text:
            return {}
        tree = _checked(text)
        try:
            value = read(text)
        except msgspec.MsgspecError as error:
            raise request_invalid(explain_message(tree, descriptor) or [_untold(error)]) from None
        taken = arguments(value)
        if oneofs:
            _refuse_two_of_one(taken, oneofs)
        return taken

    return read_message


def _json_reader(body: str) -> BodyReader:
    def read_json(text: bytes) -> Arguments:
        if not text:
            return {}
        _checked(text)
        return {body: {"json": text.decode()}}

    return read_json


def _checked(text: bytes) -> Any:
    try:
        return jsoncheck.check(text)
    except ValueError as error:
        raise JsonInvalidError(f"The body is not valid JSON: {error}.") from None


def _refuse_two_of_one(taken: Arguments, oneofs: list[tuple[str, ...]]) -> None:
    for group in oneofs:
        present = [name for name in group if name in taken]
        if len(present) > 1:
            raise request_invalid([Violation(present[1], f"excludes {present[0]}: only one of them may be set")])


def _untold(error: msgspec.MsgspecError) -> Violation:
    """For the case that the fast reader is stricter than the slow one: its own words."""
    reason, _, path = str(error).partition(" - at `$")
    return Violation(path.removesuffix("`").lstrip(".") or "body", reason)
