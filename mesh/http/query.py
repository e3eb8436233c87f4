"""Path variables and query parameters to constructor arguments of request messages."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh import jsoncheck
from mesh.contract import ContractError
from mesh.errors import Violation
from mesh.http.decode import Arguments
from mesh.http.errors import request_invalid
from mesh.http.explain import MAX_VIOLATIONS, explain_field, shown_name
from mesh.http.fields import Kind, enum_of, kind_of, map_parts, message_of, shown_fields
from mesh.http.shapes import decoder, field_shape

# More parameters than any request has fields is an attack.
MAX_PARAMETERS = 1000


class QueryReader:
    """Binds parameters to the fields that neither path nor body fill; nested ones by dots. Unknown parameters are refused."""

    def __init__(self, descriptor: Descriptor, taken: Iterable[str]) -> None:
        """`taken` are the top-level fields that the path and the body fill; "*" takes all."""
        # By the name of the parameter.
        self.fields: dict[str, FieldDescriptor] = {}
        gone = frozenset(taken)
        if "*" not in gone:
            self._learn(descriptor, "", gone, ())

    def read(self, query: bytes) -> Arguments:
        """Raises InvalidArgumentError that names each parameter which is unknown, ill-formed or given too often."""
        values: dict[str, list[str]] = {}
        violations: list[Violation] = []
        for name, value in _pairs(query):
            values.setdefault(name, []).append(value)
        arguments: Arguments = {}
        for name, texts in values.items():
            field = self.fields.get(name)
            if field is None:
                known = f"known are {', '.join(self.fields)}" if self.fields else "this path takes none"
                violations.append(Violation(shown_name(name), f"unknown query parameter; {known}"))
                continue
            try:
                _put(arguments, name, _field_value(field, texts))
            except ValueError as error:
                violations.append(Violation(name, str(error)))
        if violations:
            raise request_invalid(violations[:MAX_VIOLATIONS])
        return arguments

    def _learn(self, descriptor: Descriptor, prefix: str, taken: frozenset[str], above: tuple[str, ...]) -> None:
        for field in shown_fields(descriptor):
            if field.name in taken or map_parts(field) is not None:
                continue
            kind = kind_of(field)
            if kind is not Kind.MESSAGE:
                self.fields[prefix + field.name] = field
            elif not field.is_repeated and message_of(field).full_name not in above:
                inner = message_of(field)
                self._learn(inner, f"{prefix}{field.name}.", frozenset(), (*above, inner.full_name))


def path_reader(descriptor: Descriptor, name: str) -> Callable[[str], Any]:
    """Reads a path variable. The reader raises InvalidArgumentError. Raises ContractError when the field is missing or repeated."""
    field = descriptor.fields_by_name.get(name)
    if field is None or field.is_repeated or kind_of(field) in (Kind.MESSAGE, Kind.JSON):
        raise ContractError(f"{descriptor.full_name}: {name} cannot be a path variable")

    def read(text: str) -> Any:
        try:
            return _single_value(field, text)
        except ValueError as error:
            raise request_invalid([Violation(name, str(error))]) from None

    return read


def decode_part(raw: bytes, where: str) -> str:
    """Percent-decodes a path segment or a part of the query. Raises InvalidArgumentError when it is not UTF-8 text."""
    try:
        text = unquote_to_bytes(raw).decode() if b"%" in raw else raw.decode()
    except UnicodeDecodeError:
        raise request_invalid([Violation(where, "must be UTF-8, percent-encoded")]) from None
    return text


def _pairs(query: bytes) -> Sequence[tuple[str, str]]:
    if not query:
        return ()
    parts = [part.partition(b"=") for part in query.replace(b"+", b" ").split(b"&", MAX_PARAMETERS) if part]
    if len(parts) > MAX_PARAMETERS:
        raise request_invalid([Violation("query", f"has more than {MAX_PARAMETERS} parameters")])
    return [(decode_part(name, "query"), decode_part(value, "query")) for name, _, value in parts]


def _put(arguments: Arguments, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        arguments = arguments.setdefault(parent, {})
    arguments[last] = value


def _field_value(field: FieldDescriptor, texts: list[str]) -> Any:
    if field.is_repeated:
        return [_single_value(field, text) for text in texts]
    if len(texts) > 1:
        raise ValueError("given more than once")
    return _single_value(field, texts[0])


def _single_value(field: FieldDescriptor, text: str) -> Any:
    """Raises ValueError with what is wrong. The text is read as if it were JSON where the type asks for more than a string."""
    kind = kind_of(field)
    if kind is Kind.STRING:
        return text
    if kind is Kind.JSON:
        jsoncheck.check(text.encode())
        return {"json": text}
    is_bare = kind in (Kind.BOOL, Kind.INT32, Kind.UINT32, Kind.DOUBLE) or (kind is Kind.ENUM and text not in enum_of(field).values_by_name)
    written = text.encode() if is_bare else orjson.dumps(text)
    field_type, convert = field_shape(field)
    if field.is_repeated:
        written = b"[" + written + b"]"
    try:
        value = decoder(field_type).decode(written)
    except ValueError:
        raise ValueError(_explained(field, written)) from None
    value = value if convert is None else convert(value)
    return value[0] if field.is_repeated else value


def _explained(field: FieldDescriptor, written: bytes) -> str:
    try:
        value = orjson.loads(written)
    except orjson.JSONDecodeError:
        value = [""] if field.is_repeated else ""
    found = explain_field(value, field)
    return found[0].description.partition(", not ")[0] if found else "is not of the right type"
