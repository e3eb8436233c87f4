"""`/graphql`: queries and mutations by POST, subscriptions over the WebSocket protocol `graphql-transport-ws`."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import orjson
from cross_web import AsyncHTTPRequestAdapter
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import MissingQueryError
from strawberry.http import GraphQLRequestData
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType

from gateway.channels import Channels
from gateway.graphql.context import Context
from gateway.graphql.frames import INVALID, request_in
from gateway.graphql.schema import Schema
from gateway.graphql.sockets import Adapter, Handler, decode_frame
from gateway.identity import Visitor
from gateway.seats import STRANGER, Seats
from gateway.socket import INTERNAL, TRY_AGAIN_LATER, CloseSocket, close, until_end
from mesh.call import FORWARDED_FOR, Caller
from mesh.chain.auth import ON_BEHALF_OF
from mesh.clients import Clients
from mesh.errors import InvalidArgumentError, TreadleError, UnauthenticatedError
from mesh.http.errors import VerbNotAllowedError
from mesh.http.requests import Body, check_media_type, headers_of
from mesh.logs import get_logger
from mesh.tasks import end

# Of the protocol: who it is, is not known.
UNAUTHORIZED = 4401
# A client that has connected says within this time who it is.
INIT_TIMEOUT = timedelta(seconds=10)

_log = get_logger("gateway.graphql.endpoint")


class Door(Protocol):
    """What the endpoint needs of the gateway."""

    clients: Clients
    channels: Channels
    seats: Seats

    async def recognize(self, authorization: str, ticket: str) -> Visitor:
        """Who it is, by an Authorization header or a ticket. Raises UNAUTHENTICATED."""
        ...


class Endpoint(GraphQL[Context, None]):
    """The ASGI app under `/graphql`."""

    websocket_adapter_class = Adapter
    graphql_transport_ws_handler_class = Handler

    def __init__(self, schema: Schema, door: Door, *, max_body_bytes: int, max_values: int) -> None:
        """`max_values` is what lists that are no pages may hold together in one answer."""
        super().__init__(
            schema,
            graphql_ide=None,
            allow_queries_via_get=False,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=INIT_TIMEOUT,
            # How many operations there may be, our handler says.
            max_subscriptions_per_connection=None,
            # A page of another origin has no token that the browser would add by itself.
            allowed_origins=["*"],
        )
        self._door = door
        self._max_body_bytes = max_body_bytes
        self._max_values = max_values

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request or a socket. Raises TreadleError for what is no GraphQL request, before anything is sent."""
        if scope["type"] == "http":
            await self._serve_request(scope, receive, send)
        else:
            await self._serve_socket(WebSocket(scope, receive, send))

    async def create_websocket_response(self, request: WebSocket, subprotocol: str | None) -> WebSocket:
        """Strawberry's hook. Who does not say who they are has a place too, one of few."""
        response = await super().create_websocket_response(request, subprotocol)
        context: Context = request.state.context
        context.seat = self._take_seat(STRANGER)
        return response

    async def on_ws_connect(self, context: Context) -> dict[str, object] | None:
        """Strawberry's hook: the client has said who it is, by header, by ticket, or in its first message."""
        websocket = context.websocket
        if websocket is None or context.seat is None:
            raise RuntimeError("somebody connects who has no socket")
        said = context.connection_params or {}
        header = websocket.headers.get("authorization", "") or _text(said, "authorization") or _text(said, "Authorization")
        ticket = websocket.query_params.get("ticket", "") or _text(said, "ticket")
        try:
            visitor = await self._door.recognize(header, ticket)
        except UnauthenticatedError as error:
            raise CloseSocket(UNAUTHORIZED, error.reason) from None
        except TreadleError as error:
            raise CloseSocket(TRY_AGAIN_LATER, error.reason) from None
        context.seat()
        context.seat = None
        context.seat = self._take_seat(visitor.caller.user_id)
        context.caller = _acting(visitor.caller, websocket)
        context.ending = asyncio.create_task(_end(context, visitor), name="graphql-expire")
        return None

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        """Strawberry's hook. One request, whole and plain: no lists of requests, no files, no streams."""
        body = await request.get_body()
        said = request_in(body if isinstance(body, bytes) else body.encode())
        return GraphQLRequestData(said.query, said.variables, said.operationName, None)

    async def execute_operation(  # noqa: PLR0917 - Strawberry's order
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        request_data: GraphQLRequestData | list[GraphQLRequestData],
        context: Context,
        root_value: None,
        sub_response: Response,
    ) -> ExecutionResult:
        """Strawberry's hook. Raises INVALID_ARGUMENT (GRAPHQL_INVALID) for a subscription: it would have no end."""
        del request, request_adapter, root_value, sub_response
        if isinstance(request_data, list):
            raise InvalidArgumentError("One request at a time.", reason=INVALID)
        try:
            return await self.schema.execute(
                request_data.query,
                request_data.variables,
                context,
                operation_name=request_data.operation_name,
                allowed_operation_types=(OperationType.QUERY, OperationType.MUTATION),
            )
        except InvalidOperationTypeError:
            sentence = f"Subscriptions go over a WebSocket, in the protocol {GRAPHQL_TRANSPORT_WS_PROTOCOL}."
            raise InvalidArgumentError(sentence, reason=INVALID) from None
        except CannotGetOperationTypeError as error:
            raise InvalidArgumentError(error.as_http_error_reason(), reason=INVALID) from None
        except MissingQueryError:
            raise InvalidArgumentError("There is no query in the request.", reason=INVALID) from None

    def decode_json(self, data: str | bytes) -> object:
        """Strawberry's hook, for frames."""
        return decode_frame(data)

    def encode_json(self, data: object) -> bytes:
        """Strawberry's hook: values that the services gave as JSON text are passed on as they are."""
        return orjson.dumps(data)

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise VerbNotAllowedError(scope["method"], ["POST"])
        headers = headers_of(scope["headers"])
        check_media_type(headers)
        visitor = await self._door.recognize(headers.get("authorization", ""), "")
        body = await Body(receive, headers, self._max_body_bytes).read()

        async def read() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        request = Request(scope, read)
        context = self._context(request)
        context.caller = _acting(visitor.caller, request)
        response = await self.run(request, context=context)
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _serve_socket(self, websocket: WebSocket) -> None:
        context = self._context(websocket)
        context.websocket = websocket
        websocket.state.context = context
        serving = asyncio.create_task(self._run(websocket, context), name="graphql-socket")
        ends: set[asyncio.Future[Any]] = {serving, context.over}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await end(serving)
            await close(websocket, context.over.result() if context.over.done() else CloseSocket(None))
        finally:
            await end(serving)
            await context.leave()

    def _context(self, asking: HTTPConnection) -> Context:
        return Context(self._door.clients, self._door.channels, self._max_values, asking.headers.get(FORWARDED_FOR, ""))

    async def _run(self, websocket: WebSocket, context: Context) -> None:
        try:
            await self.run(websocket, context=context)
        except CloseSocket as end_of_it:
            context.end(end_of_it)
        except Exception:
            _log.exception("graphql_socket_failed")
            context.end(CloseSocket(INTERNAL, "something went wrong on our side"))

    def _take_seat(self, user_id: str) -> Callable[[], None]:
        try:
            return self._door.seats.take(user_id)
        except TreadleError as error:
            raise CloseSocket(TRY_AGAIN_LATER, error.reason) from None


async def _end(context: Context, visitor: Visitor) -> None:
    context.end(CloseSocket(UNAUTHORIZED, await until_end(visitor)))


def _acting(caller: Caller, asking: HTTPConnection) -> Caller:
    """The caller for the one they act for, if they say so. Whether they may, the services judge."""
    user_id = asking.headers.get(ON_BEHALF_OF, "")
    return replace(caller, user_id=user_id, actor_id=caller.user_id) if user_id else caller


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""
