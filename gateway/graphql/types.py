"""GraphQL types from messages: objects for answers, inputs for arguments, enums. Values look as REST shows them."""

import dataclasses
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NewType, Optional

import strawberry
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from strawberry.annotation import StrawberryAnnotation
from strawberry.scalars import JSON
from strawberry.schema.types.scalar import DEFAULT_SCALAR_REGISTRY
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import StrawberryField
from strawberry.types.info import Info
from strawberry.types.scalar import ScalarDefinition
from treadle.options.v1 import fields_pb2

from gateway.graphql.budget import counted, shown_json
from gateway.graphql.model import Listing, is_output_only, is_required
from gateway.graphql.names import camel
from mesh.contract import ContractError
from mesh.http.fields import Kind, enum_names, enum_of, form_of, kind_of, map_parts, message_of, shown_fields
from mesh.http.forms import TimeForm

Time = NewType("Time", str)
SCALARS: Mapping[object, ScalarDefinition] = {
    Time: strawberry.scalar(name="Time", description="RFC 3339, such as 2026-01-31T12:00:00Z", parse_value=str),
    JSON: dataclasses.replace(DEFAULT_SCALAR_REGISTRY[JSON], serialize=shown_json),
}

_PLAIN = {Kind.STRING: "str", Kind.BOOL: "bool", Kind.INT32: "int", Kind.UINT32: "int", Kind.DOUBLE: "float", Kind.JSON: "JSON"}


class ListField(StrawberryField):
    """A list: how long it is, only its service knows."""

    is_basic_field = False

    def __copy__(self) -> "ListField":
        return self

    def get_result(self, source: Any, info: Info[Any, Any] | None, args: list[Any], kwargs: Any) -> Any:
        """Strawberry's hook."""
        del args, kwargs
        if info is None:
            raise RuntimeError("a list needs to know what is asked of its items")
        return counted(source.get(self.name), info)


class Types:
    """All types of one schema, each made when it is first needed."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        """`comments` by full name describe types and fields."""
        self._comments = comments
        self._names: dict[str, Any] = {"JSON": JSON, "Time": Time, "List": list, "Optional": Optional}
        # Full name of the message or enum by the name of its type.
        self._origins: dict[str, str] = {}
        self._fields: dict[str, list[StrawberryField]] = {}
        self._messages: dict[str, Descriptor] = {}

    def object(self, descriptor: Descriptor) -> str:
        """The name of the type of a message."""
        name = self._claim(descriptor.name, descriptor.full_name)
        if name not in self._fields:
            self._messages[name] = descriptor
            fields: list[StrawberryField] = []
            self._fields[name] = fields
            # Kept before it is filled: messages may contain themselves.
            fields.extend(self._shown(field) for field in shown_fields(descriptor))
        return name

    def page(self, listing: Listing) -> str:
        """The name of the type of a page; all lists of the same things share it."""
        item = self.object(message_of(listing.items))
        name = self._claim(f"{item}Page", f"page of {item}")
        if name not in self._fields:
            token = self._comments.get(f"{listing.method.response_descriptor.full_name}.next_page_token")
            self._fields[name] = [
                ListField("items", "items", self.annotation(f"List[{item}]")),
                self.field("next_page_token", "str", token),
            ]
        return name

    def messages(self) -> Mapping[str, Descriptor]:
        """The messages that have a type so far, by its name."""
        return dict(self._messages)

    def details(self, name: str) -> list[str]:
        """The fields of a type that lists leave out."""
        descriptor = self._messages[name]
        return [field.name for field in shown_fields(descriptor) if field.GetOptions().Extensions[fields_pb2.detail]]

    def replace(self, name: str, field: StrawberryField) -> None:
        """Puts a field in the place of the one of the same name."""
        self._fields[name] = [field if known.name == field.name else known for known in self._fields[name]]

    def known(self, name: str, field: str) -> StrawberryField:
        """A field of a type. Raises StopIteration when there is none."""
        return next(known for known in self._fields[name] if known.name == field)

    def add(self, name: str, field: StrawberryField) -> None:
        """Gives a type one more field; those that messages gave go first, a name that is taken stays."""
        if all(known.name != field.name for known in self._fields[name]):
            self._fields[name].append(field)

    def field(self, name: str, annotation: str, about: str | None = None) -> StrawberryField:
        """A field that shows a value as it is."""
        return StrawberryField(name, camel(name), self.annotation(annotation), description=about or None)

    def annotation(self, text: str) -> StrawberryAnnotation:
        """A type expression over the names of this schema; evaluated when all types are there."""
        return StrawberryAnnotation(text, namespace=self._names)

    def answer(self, field: FieldDescriptor) -> str:
        """The type expression of a field of an answer, without `Optional`."""
        return self._expression(field, self.object)

    def arguments(self, descriptor: Descriptor, without: Iterable[str] = ()) -> list[StrawberryArgument]:
        """The fields of a request as arguments."""
        left_out = frozenset(without)
        return [
            StrawberryArgument(field.name, camel(field.name), self.annotation(self._taken(field)), description=self._about(field))
            for field in shown_fields(descriptor)
            if field.name not in left_out
        ]

    def build(self) -> dict[str, type]:
        """Makes the classes of all objects, by name."""
        made = {name: _class(name, fields) for name, fields in self._fields.items()}
        self._names |= made
        for name, made_class in made.items():
            strawberry.type(made_class, name=name, description=self._comments.get(self._origins[name]))
        return made

    def _shown(self, field: FieldDescriptor) -> StrawberryField:
        is_certain = not field.has_presence and (field.is_repeated or kind_of(field) is not Kind.JSON)
        expression = self.answer(field)
        annotation = self.annotation(expression if is_certain else f"Optional[{expression}]")
        is_list = field.is_repeated and map_parts(field) is None
        kind = ListField if is_list else StrawberryField
        return kind(field.name, camel(field.name), annotation, description=self._about(field))

    def _taken(self, field: FieldDescriptor) -> str:
        expression = self._expression(field, self._input)
        return expression if is_required(field) else f"Optional[{expression}]"

    def _input(self, descriptor: Descriptor) -> str:
        name = self._claim(f"{descriptor.name}Input", f"input of {descriptor.full_name}")
        if name not in self._names:
            made = self._names[name] = type(name, (), {})
            for field in shown_fields(descriptor):
                if not is_output_only(field):
                    default = {} if is_required(field) else {"default": strawberry.UNSET}
                    annotation = self.annotation(self._taken(field))
                    about = self._about(field)
                    setattr(made, field.name, StrawberryField(field.name, camel(field.name), annotation, description=about, **default))
            strawberry.input(made, name=name, description=self._comments.get(descriptor.full_name))
        return name

    def _expression(self, field: FieldDescriptor, message_type: Any) -> str:
        if map_parts(field) is not None:
            return "JSON"
        kind = kind_of(field)
        if kind is Kind.MESSAGE:
            single = message_type(message_of(field))
        elif kind is Kind.ENUM:
            single = self._enum(field)
        elif kind is Kind.FORM:
            single = "Time" if form_of(field) is TimeForm else "str"
        else:
            single = _PLAIN[kind]
        if not field.is_repeated:
            return str(single)
        return f"List[Optional[{single}]]" if kind is Kind.JSON else f"List[{single}]"

    def _enum(self, field: FieldDescriptor) -> str:
        enum = enum_of(field)
        name = self._claim(enum.name, enum.full_name)
        if name not in self._names:
            values = {value: value for value in enum_names(field).values()}
            made: Any = Enum(name, values)  # type: ignore[misc]  # the names come from the contract
            self._names[name] = strawberry.enum(made, description=self._comments.get(enum.full_name))
        return name

    def _claim(self, name: str, origin: str) -> str:
        """Raises ContractError when two things of the contracts would get the same name."""
        known = self._origins.setdefault(name, origin)
        if known != origin:
            raise ContractError(f"GraphQL: {known} and {origin} would both be called {name}")
        return name

    def _about(self, field: FieldDescriptor) -> str | None:
        return self._comments.get(field.full_name)


def plain(value: Any) -> Any:
    """An argument as the JSON that REST takes, with the names of the contracts; what was not sent is left out."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        items = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: plain(item) for name, item in items.items() if item is not strawberry.UNSET}
    return value


def _class(name: str, fields: Iterable[StrawberryField]) -> type:
    return type(name, (), {str(field.name): field for field in fields})
