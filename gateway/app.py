"""Assembly of the gateway: what spans services and is not an RPC."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from gateway.account import routes as account
from gateway.channels import Channels
from gateway.executions import Executions
from gateway.graphql.endpoint import Endpoint
from gateway.graphql.schema import make_schema
from gateway.identity import Visitor, bearer_of, identify, identify_watcher
from gateway.mail import mail_folder
from gateway.pages import root
from gateway.reference import routes as reference
from gateway.seats import STRANGER, Seats
from gateway.socket import FORBIDDEN, TRY_AGAIN_LATER, UNAUTHENTICATED, CloseSocket, Socket, close
from gateway.tickets import LIFE_S, Tickets
from mesh.chain.errors import MASKED
from mesh.chain.faults import translate
from mesh.chain.request_id import HEADER as REQUEST_ID
from mesh.chain.request_id import harmless_or_new
from mesh.clients import Clients
from mesh.errors import InternalError, PermissionDeniedError, TreadleError, UnauthenticatedError
from mesh.http.errors import RouteUnknownError, VerbNotAllowedError, http_status
from mesh.http.responses import error_headers
from mesh.identity.bearer import Bearers
from mesh.ids import uuid7
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.service import Running, Service
from mesh.status import to_json
from mesh.tasks import end

_log = get_logger("gateway")


class Gateway:
    """The handlers of the gateway's own routes."""

    def __init__(self, verifier: Bearers, tickets: Tickets, channels: Channels, clients: Clients, seats: Seats) -> None:
        self.clients = clients
        self.channels = channels
        self.seats = seats
        self._verifier = verifier
        self._tickets = tickets

    async def issue_ticket(self, request: Request) -> Response:
        """POST /v1/ws-tickets: a single-use ticket for `/v1/ws?ticket=`."""
        visitor = await identify_watcher(self._verifier, bearer_of(request.headers.get("authorization", "")))
        ticket = await self._tickets.issue(visitor.caller.bearer)
        return _json(orjson.dumps({"ticket": ticket, "expires_in": LIFE_S}), 200, {"cache-control": "no-store"})

    async def serve_socket(self, websocket: WebSocket) -> None:
        """GET /v1/ws."""
        # Accepted first: only an open socket can tell a browser why it is closed.
        await websocket.accept()
        leave: Callable[[], None] | None = None
        try:
            leave = self.seats.take(STRANGER)
            visitor = await self._watcher(websocket)
            leave()
            # Should there be no place for the user, none is held.
            leave = None
            leave = self.seats.take(visitor.caller.user_id)
            await Socket(websocket, visitor, self.channels).run()
        except UnauthenticatedError as error:
            await close(websocket, CloseSocket(UNAUTHENTICATED, error.reason))
        except PermissionDeniedError as error:
            await close(websocket, CloseSocket(FORBIDDEN, error.reason))
        except TreadleError as error:
            await close(websocket, CloseSocket(TRY_AGAIN_LATER, error.reason))
        finally:
            if leave is not None:
                leave()

    async def recognize(self, authorization: str, ticket: str) -> Visitor:
        """Who it is, by a ticket or else by an Authorization header. Raises UNAUTHENTICATED."""
        return await identify(self._verifier, await self._token(authorization, ticket))

    async def _watcher(self, websocket: WebSocket) -> Visitor:
        token = await self._token(websocket.headers.get("authorization", ""), websocket.query_params.get("ticket", ""))
        return await identify_watcher(self._verifier, token)

    async def _token(self, authorization: str, ticket: str) -> str:
        return await self._tickets.redeem(ticket) if ticket else bearer_of(authorization)


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves the WebSocket, its tickets and the root page. Needs neither bus nor cache to be up."""
    channels = Channels(Executions(resources.clients))

    async def attach_bus() -> None:
        channels.attach((await resources.bus()).nc)

    settings = resources.settings
    seats = Seats(settings.max_sockets, settings.max_sockets_per_user)
    gateway = Gateway(resources.bearers, Tickets(resources.cache), channels, resources.clients, seats)
    schema = make_schema(
        max_depth=settings.graphql_max_depth, max_cost=settings.graphql_max_cost, has_introspection=settings.graphql_introspection
    )
    graphql = Endpoint(schema, gateway, max_body_bytes=settings.max_message_bytes, max_values=settings.graphql_max_cost)
    app = Starlette(
        routes=[
            Route("/", root),
            *account.ROUTES,
            *reference.ROUTES,
            Route("/v1/ws-tickets", gateway.issue_ticket, methods=["POST"]),
            WebSocketRoute("/v1/ws", gateway.serve_socket),
            Route("/graphql", graphql),
            WebSocketRoute("/graphql", graphql),
        ],
        exception_handlers={Exception: _show_error, TreadleError: _show_error, HTTPException: _show_error},
    )
    attaching = asyncio.create_task(attach_bus(), name="gateway-bus")
    try:
        async with mail_folder(resources.settings.mail_folder, resources):
            yield Running(asgi=app)
    finally:
        await end(attaching)


async def _show_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        shown = _in_our_words(request, error)
    elif isinstance(error, TreadleError):
        shown = error
    else:
        shown = translate(error) or _masked(request, error)
    request_id = harmless_or_new(request.headers.get(REQUEST_ID, ""))
    return _json(to_json(shown), http_status(shown), {**error_headers(shown), REQUEST_ID: request_id})


def _in_our_words(request: Request, error: HTTPException) -> TreadleError:
    allowed = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow")
    return VerbNotAllowedError(request.method, allowed.split(", ")) if allowed else RouteUnknownError("There is nothing at this path.")


def _masked(request: Request, error: Exception) -> TreadleError:
    error_id = uuid7()
    _log.error("request_failed", path=request.url.path, error_id=error_id, exc_info=error)
    return InternalError(MASKED, metadata={"error_id": error_id})


def _json(body: bytes, status: int, headers: dict[str, str]) -> Response:
    return Response(body, status, headers, "application/json")


SERVICE = Service("gateway", build, needs=("nats", "cache"))
