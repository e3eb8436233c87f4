"""`/graphql`: queries and mutations by POST, subscriptions over the WebSocket protocol `graphql-transport-ws`."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol

import orjson
from cross_web import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter, GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler

from gateway.channels import Channels
from gateway.graphql.context import Context
from gateway.graphql.errors import INVALID
from gateway.graphql.schema import Schema
from gateway.identity import Visitor
from gateway.seats import Seats
from gateway.socket import STALL_S, TOO_SLOW, TRY_AGAIN_LATER, until_end
from mesh.clients import Clients
from mesh.errors import InvalidArgumentError, TreadleError, UnauthenticatedError
from mesh.http.errors import VerbNotAllowedError
from mesh.http.requests import Body, check_media_type, headers_of
from mesh.logs import get_logger

# Of the protocol: who it is, is not known.
UNAUTHORIZED = 4401
# A client that has connected says within this time who it is.
INIT_TIMEOUT = timedelta(seconds=10)
MAX_OPERATIONS = 100

_log = get_logger("gateway.graphql.endpoint")


class Door(Protocol):
    """What the endpoint needs of the gateway."""

    clients: Clients
    channels: Channels
    seats: Seats

    async def recognize(self, authorization: str, ticket: str) -> Visitor:
        """Who it is, by an Authorization header or a ticket. Raises UNAUTHENTICATED."""
        ...


class _Socket(ASGIWebSocketAdapter):
    """Sends frames in our JSON, and gives up on clients that do not read."""

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Strawberry's hook."""
        try:
            async with asyncio.timeout(STALL_S):
                await self.ws.send_text(orjson.dumps(message).decode())
        except TimeoutError:
            await self.close(TOO_SLOW, "too slow; come back with afterSeq")
            raise WebSocketDisconnected from None
        except (WebSocketDisconnect, RuntimeError):
            raise WebSocketDisconnected from None

    async def close(self, code: int, reason: str) -> None:
        """Strawberry's hook; closing what is closed does nothing."""
        await _close(self.ws, code, reason)


class _Handler(BaseGraphQLTransportWSHandler[Context, None]):
    """Strawberry's, with our log."""

    async def handle_task_exception(self, error: Exception) -> None:
        """Strawberry's hook. That a client has gone is no fault."""
        if not isinstance(error, WebSocketDisconnected):
            _log.error("graphql_socket_failed", exc_info=error)


class Endpoint(GraphQL[Context, None]):
    """The ASGI app under `/graphql`."""

    websocket_adapter_class = _Socket
    graphql_transport_ws_handler_class = _Handler

    def __init__(self, schema: Schema, door: Door, max_body_bytes: int) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            allow_queries_via_get=False,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=INIT_TIMEOUT,
            max_subscriptions_per_connection=MAX_OPERATIONS,
            # A page of another origin has no token that the browser would add by itself.
            allowed_origins=["*"],
        )
        self._door = door
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request or a socket. Raises TreadleError for what is no GraphQL request, before anything is sent."""
        if scope["type"] == "http":
            await self._serve_request(scope, receive, send)
        else:
            await self._serve_socket(WebSocket(scope, receive, send))

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """Strawberry's hook. Who is at a socket is known later."""
        context = Context(self._door.clients, self._door.channels)
        if isinstance(request, WebSocket):
            request.state.context = context
            context.websocket = request
        else:
            context.caller = (await self._door.recognize(request.headers.get("authorization", ""), "")).caller
        return context

    async def on_ws_connect(self, context: Context) -> dict[str, object] | None:
        """Strawberry's hook: the client has said who it is, by header, by ticket, or in its first message."""
        websocket = context.websocket
        if websocket is None:
            raise ConnectionRejectionError
        said = context.connection_params or {}
        header = websocket.headers.get("authorization", "") or _text(said, "authorization") or _text(said, "Authorization")
        ticket = websocket.query_params.get("ticket", "") or _text(said, "ticket")
        try:
            visitor = await self._door.recognize(header, ticket)
            context.seat = self._door.seats.take(visitor.caller.user_id)
        except UnauthenticatedError as error:
            await self._refuse(websocket, UNAUTHORIZED, error)
        except TreadleError as error:
            await self._refuse(websocket, TRY_AGAIN_LATER, error)
        context.caller = visitor.caller
        context.ending = asyncio.create_task(self._end(websocket, visitor), name="graphql-expire")
        return None

    def encode_json(self, data: object) -> bytes:
        """Strawberry's hook: values that the services gave as JSON text are passed on as they are."""
        return orjson.dumps(data)

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise VerbNotAllowedError(scope["method"], ["POST"])
        headers = headers_of(scope["headers"])
        check_media_type(headers)
        body = await Body(receive, headers, self._max_body_bytes).read()

        async def read() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            response = await self.run(Request(scope, read))
        except HTTPException as error:
            raise InvalidArgumentError(error.reason, reason=INVALID) from None
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _serve_socket(self, websocket: WebSocket) -> None:
        try:
            await self.run(websocket)
        finally:
            context: Context | None = getattr(websocket.state, "context", None)
            if context is not None:
                await context.leave()

    async def _end(self, websocket: WebSocket, visitor: Visitor) -> None:
        reason = await until_end(visitor)
        await _close(websocket, UNAUTHORIZED, reason)

    async def _refuse(self, websocket: WebSocket, code: int, error: TreadleError) -> None:
        """Closes the socket with our own reason; Strawberry's way of saying no knows only one."""
        await _close(websocket, code, error.reason)
        raise ConnectionRejectionError


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(STALL_S):
            await websocket.close(code, reason)


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""
