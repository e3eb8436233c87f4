"""Fields that ask a service: the roots from methods, and what joins resources from the references between their messages."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import StrawberryField
from strawberry.types.info import Info

from gateway.graphql.budget import counted
from gateway.graphql.calls import request_of
from gateway.graphql.context import Context
from gateway.graphql.model import DEFAULT_PAGE, Listing, answer_of, is_read, listing_of
from gateway.graphql.names import camel
from gateway.graphql.types import Types, plain
from mesh.contract import Method
from mesh.errors import NotFoundError
from mesh.http.encode import encoder_of
from mesh.http.fields import Kind, kind_of, message_of

_RAWS = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Marks of an item of a list: that it lacks its details, and the whole once that is there. No field of a message has such a name.
_IS_HEAD, _WHOLE = "#is_head", "#whole"

# From the source of a field and the arguments that a client gave to the arguments of the request; None when there is nothing to ask for.
Prepare = Callable[[Any, dict[str, Any]], dict[str, Any] | None]
# From a response message to what the fields of its type read.
Show = Callable[[Any], Any]


class RpcField(StrawberryField):
    """A field whose value a method answers. May be null: one failed call leaves the rest of the answer."""

    is_basic_field = False

    def __init__(
        self,
        name: str,
        types: Types,
        method: Method,
        *,
        arguments: list[StrawberryArgument],
        prepare: Prepare,
        about: str,
        may_be_gone: bool = False,
    ) -> None:
        expression, self._show = answered(types, method)
        super().__init__(name, camel(name), types.annotation(f"Optional[{expression}]"), description=about or None)
        self.arguments = arguments
        self.method = method
        self._is_listing = listing_of(method) is not None
        self._prepare = prepare
        self._may_be_gone = may_be_gone

    def __copy__(self) -> "RpcField":
        return self

    def get_result(self, source: Any, info: Info[Any, Any] | None, args: list[Any], kwargs: Any) -> Any:
        """Strawberry's hook."""
        del args
        if info is None:
            raise RuntimeError("a field that asks a service needs to know for whom")
        return self._ask(source, info, kwargs)

    async def _ask(self, source: Any, info: Info[Any, Any], given: Mapping[str, Any]) -> Any:
        context: Context = info.context
        arguments = self._prepare(source, {name: plain(value) for name, value in given.items()})
        if arguments is None:
            return None
        if self._is_listing and not arguments.get("page_size"):
            arguments = {**arguments, "page_size": DEFAULT_PAGE}
        request = request_of(self.method, arguments)
        if is_read(self.method):
            try:
                response = await context.loaders.load(self.method, request)
            except NotFoundError:
                if not self._may_be_gone:
                    raise
                return None
            return counted(context.loaders.show(response, self._show), info)
        return counted(self._show(await context.loaders.make(self.method, request)), info)


class DetailField(StrawberryField):
    """A field that lists leave out. Under an item of a list it asks for the whole resource; all such fields of one item share the call."""

    is_basic_field = False

    def __init__(self, field: StrawberryField, getter: Method, key: str) -> None:
        super().__init__(field.python_name, field.graphql_name, field.type_annotation, description=field.description)
        self._getter = getter
        self._key = key
        self._has_version = "version" in getter.request_descriptor.fields_by_name
        answer = answer_of(getter)
        self._answer = answer.name if answer else ""

    def __copy__(self) -> "DetailField":
        return self

    def get_result(self, source: Any, info: Info[Any, Any] | None, args: list[Any], kwargs: Any) -> Any:
        """Strawberry's hook."""
        del args, kwargs
        if info is None:
            raise RuntimeError("a field that asks a service needs to know for whom")
        return self._whole(source, info) if source.get(_IS_HEAD) else counted(source.get(self.name), info)

    async def _whole(self, source: Any, info: Info[Any, Any]) -> Any:
        arguments = {self._key: source["id"], **({"version": source["version"]} if self._has_version else {})}
        whole = source.get(_WHOLE)
        if whole is None:
            context: Context = info.context
            response = await context.loaders.load(self._getter, request_of(self._getter, arguments))
            whole = source[_WHOLE] = shown(getattr(response, self._answer))
        return counted(whole.get(self.name), info)


def root_field(types: Types, method: Method, name: str, about: str) -> RpcField:
    """A method as a field of Query or Mutation."""
    return RpcField(name, types, method, arguments=types.arguments(method.request_descriptor), prepare=lambda _, given: given, about=about)


def child_field(types: Types, listing: Listing, key: str, name: str, about: str) -> RpcField:
    """The list of a resource: its id is the `key` of the request."""
    arguments = types.arguments(listing.method.request_descriptor, {key})
    return RpcField(
        name, types, listing.method, arguments=arguments, prepare=lambda source, given: {**given, key: source["id"]}, about=about
    )


def reference_field(types: Types, getter: Method, key: str, owner: Descriptor, about: str) -> RpcField:
    """The resource that a message refers to by `key`, in the version that it names, if it does; null when it is gone, and when the message
    names a revision, which is none of its versions.
    """
    name = key.removesuffix("_id")
    version = f"{name}_version" if f"{name}_version" in owner.fields_by_name else ""

    def prepare(source: Any, given: dict[str, Any]) -> dict[str, Any] | None:
        if not source.get(key) or source.get(f"{name}_revision"):
            return None
        return {**given, key: source[key], **({"version": source[version]} if version else {})}

    return RpcField(name, types, getter, arguments=[], prepare=prepare, about=about, may_be_gone=True)


def answered(types: Types, method: Method) -> tuple[str, Show]:
    """The type expression of what a method answers, and how a response becomes a value of it."""
    listing, field = listing_of(method), answer_of(method)
    if listing is not None:
        return types.page(listing), _page_shower(listing)
    if field is not None:
        return types.answer(field), _field_shower(method.response_descriptor, field)
    if not method.response_descriptor.fields:
        return "bool", lambda _: True
    return types.object(method.response_descriptor), shown


def shown(message: Message) -> dict[str, Any]:
    """A message as REST shows it; fields of GraphQL read from this."""
    return encoder_of(message.DESCRIPTOR).show(message)  # type: ignore[arg-type]  # the stubs allow for messages without descriptors


def shown_text(text: str, json_fields: Collection[str]) -> dict[str, Any]:
    """The same from a message's JSON text. What stands under `json_fields` is passed on as it is: numbers keep all their digits."""
    raws = _RAWS.decode(text)
    return {name: orjson.Fragment(bytes(raw)) if name in json_fields else orjson.loads(bytes(raw)) for name, raw in raws.items()}


def _page_shower(listing: Listing) -> Show:
    show = encoder_of(message_of(listing.items)).show
    name = listing.items.name
    return lambda response: {
        "items": [{**show(item), _IS_HEAD: True} for item in getattr(response, name)],
        "next_page_token": response.next_page_token,
    }


def _field_shower(descriptor: Descriptor, field: FieldDescriptor) -> Show:
    if not field.is_repeated and kind_of(field) is Kind.MESSAGE:
        return lambda response: shown(getattr(response, field.name))
    show = encoder_of(descriptor).show
    return lambda response: show(response).get(field.name)
