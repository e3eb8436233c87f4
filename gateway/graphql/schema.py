"""The GraphQL schema, made from the contracts: `python -m gateway.graphql.schema OUTPUT` writes it down."""

import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

import strawberry
import treadle
from graphql import GraphQLError
from graphql.type import GraphQLObjectType, is_list_type
from graphql.type.definition import get_nullable_type
from strawberry.extensions import DisableIntrospection, MaxTokensLimiter, SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.execution import ExecutionContext
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.info import Info
from treadle.execution.v1.execution_service_pb2 import Event

from gateway.executions import Followed
from gateway.graphql.budget import budget
from gateway.graphql.context import Context
from gateway.graphql.errors import put_in_our_words
from gateway.graphql.fields import DetailField, RpcField, child_field, reference_field, root_field, shown_text
from gateway.graphql.limits import Limits, Prices
from gateway.graphql.model import answer_of, getters, is_read, listing_of, offered
from gateway.graphql.names import camel, child_name, field_name
from gateway.graphql.types import SCALARS, Types
from mesh.contract import ContractError, Method, methods
from mesh.errors import InvalidArgumentError
from mesh.http.comments import comments_of
from mesh.http.fields import Kind, kind_of, message_of

# Beside the generated modules.
DESCRIPTORS = Path(treadle.__path__[0]).parent / "descriptor.binpb"
MAX_TOKENS = 5_000
# Lists of the caller's own things that a profile leads to; the service says whose they are.
OF_USER = ("ListGraphs", "ListExecutions")
# What an event holds as JSON of its own.
_EVENT_JSON = frozenset(field.name for field in Event.DESCRIPTOR.fields if kind_of(field) is Kind.JSON)
_ORIGIN = GraphQLCoreConverter.DEFINITION_BACKREF
_WATCH = "/treadle.execution.v1.ExecutionService/WatchExecution"


class Schema(strawberry.Schema):
    """Strawberry's, with errors in our error model."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Strawberry's hook."""
        del execution_context
        put_in_our_words(errors)


class FreshLoaders(SchemaExtension):
    """Gives each operation loaders of its own."""

    def on_operation(self) -> Iterator[None]:
        """Strawberry's hook."""
        self.execution_context.context.renew()
        yield


def make_schema(*, max_depth: int = 12, max_cost: int = 50_000, has_introspection: bool = True) -> Schema:
    """The schema of all methods that clients may call."""
    query, mutation, subscription = _roots()
    # Only the finished schema tells them; the extensions are made for each operation.
    prices: list[Prices] = []
    extensions: list[Callable[[], SchemaExtension] | type[SchemaExtension]] = [
        FreshLoaders,
        lambda: MaxTokensLimiter(MAX_TOKENS),
        lambda: Limits(max_depth, max_cost, prices[0]),
    ]
    if not has_introspection:
        extensions.append(DisableIntrospection)
    config = StrawberryConfig(
        default_resolver=_read, scalar_map=SCALARS, disable_field_suggestions=not has_introspection, auto_camel_case=False, sort_schema=True
    )
    schema = Schema(query, mutation, subscription, extensions=extensions, config=config)
    prices.append(_prices(schema))
    return schema


@cache
def _roots() -> tuple[type, type, type]:
    comments = comments_of(DESCRIPTORS.read_bytes())
    known = offered(methods().values())
    types = Types(comments)
    unary = [method for method in known if not method.is_server_streaming]
    roots = [root_field(types, method, field_name(method.name), _about(comments, method)) for method in unary]
    watch = _watch_field(types, methods()[_WATCH], comments)
    _join(types, unary, comments)
    types.build()
    query = _root("Query", [field for field in roots if is_read(field.method)])
    mutation = _root("Mutation", [field for field in roots if not is_read(field.method)])
    return query, mutation, _root("Subscription", [watch])


def _join(types: Types, unary: Sequence[Method], comments: Mapping[str, str]) -> None:
    """Leads from resources to their lists, and from references to resources."""
    by_key = getters(unary)
    listings = [listing for method in unary if (listing := listing_of(method)) is not None]
    for key, getter in by_key.items():
        owner = _owner(types, getter)
        for listing in listings:
            if key in listing.method.request_descriptor.fields_by_name:
                name = child_name(listing.method.name, owner)
                types.add(owner, child_field(types, listing, key, name, _about(comments, listing.method)))
        for name in types.details(owner):
            types.replace(owner, DetailField(types.known(owner, name), getter, key))
    for name, descriptor in types.messages().items():
        for key, getter in by_key.items():
            if key in descriptor.fields_by_name:
                types.add(name, reference_field(types, getter, key, descriptor, _about(comments, getter)))
    for listing in listings:
        if listing.method.name in OF_USER:
            types.add("User", root_field(types, listing.method, field_name(listing.method.name), _about(comments, listing.method)))


def _owner(types: Types, getter: Method) -> str:
    """The name of the type of what a method gets."""
    answer = answer_of(getter)
    if answer is None:
        raise ContractError(f"{getter.full_name} gets a resource but has no response_body")
    return types.answer(answer)


def _watch_field(types: Types, method: Method, comments: Mapping[str, str]) -> StrawberryField:
    """The events of an execution; the gateway follows them by journal and bus, as on its own socket."""
    event = types.object(message_of(method.response_descriptor.fields_by_name["event"]))

    async def watch(info: Info, execution_id: str, after_seq: int | None = None) -> AsyncGenerator[Any, None]:
        # Asked before the first event, so that a refusal is one of the whole subscription.
        if after_seq is not None and after_seq < 0:
            raise InvalidArgumentError("afterSeq cannot be negative.", reason="REQUEST_INVALID")
        context: Context = info.context
        followed = await context.channels.executions.get(context.known_caller(), execution_id)
        return _events(context, followed, after_seq or 0)

    field = StrawberryField(
        "watch_execution",
        camel("watch_execution"),
        types.annotation(event),
        is_subscription=True,
        description=_about(comments, method),
        base_resolver=StrawberryResolver(watch),
    )
    field.arguments = types.arguments(method.request_descriptor)
    return field


async def _events(context: Context, followed: Followed, after_seq: int) -> AsyncGenerator[Any, None]:
    async with aclosing(context.channels.execution(context.known_caller(), followed, after_seq)) as batches:
        async for batch in batches:
            for event in batch:
                # What an event refers to may have changed since the one before.
                context.renew()
                yield shown_text(event.text, _EVENT_JSON)


def _root(name: str, fields: Sequence[StrawberryField]) -> type:
    return strawberry.type(type(name, (), {str(field.name): field for field in fields}), name=name)


def _about(comments: Mapping[str, str], method: Method) -> str:
    return comments.get(f"{method.service}.{method.name}", "")


def _read(source: Any, name: str) -> Any:
    value = source.get(name)
    if isinstance(value, str):
        budget.get().show(len(value))
    return value


def _prices(schema: Schema) -> Prices:
    kinds = [kind for kind in schema._schema.type_map.values() if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__")]
    fields = [(name, field) for kind in kinds for name, field in kind.fields.items()]
    lists = {name for name, field in fields if is_list_type(get_nullable_type(field.type))}
    asking = {name for name, field in fields if isinstance(field.extensions[_ORIGIN], RpcField | DetailField)}
    return Prices(frozenset(lists - {"items"}), frozenset(asking))


def main(arguments: list[str]) -> int:
    """Writes the schema in the schema language."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m gateway.graphql.schema OUTPUT\n")
        return 2
    Path(arguments[0]).write_text(make_schema().as_str() + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
