"""What resolvers know beside their arguments: who asks, and the loaders of the operation."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from starlette.websockets import WebSocket

from gateway.channels import Channels
from gateway.graphql.budget import Budget, budget
from gateway.graphql.calls import Calls
from gateway.graphql.loaders import Loaders
from gateway.socket import CloseSocket
from mesh.call import Caller
from mesh.clients import Clients
from mesh.contract import methods
from mesh.tasks import end

_loaders: ContextVar[Loaders | None] = ContextVar("graphql_loaders", default=None)


@dataclass(slots=True)
class Context:
    """One request, or one socket. `max_values` is for the budget of each operation, `forwarded_for` the header of that name.

    `connection_params` is what a socket's client said of itself; `caller` is None before it is known.
    """

    clients: Clients
    channels: Channels
    max_values: int
    forwarded_for: str = ""
    caller: Caller | None = None
    connection_params: dict[str, Any] | None = None
    websocket: WebSocket | None = None
    # Gives the socket's place back.
    seat: Callable[[], None] | None = None
    # Ends the socket with its token.
    ending: asyncio.Task[None] | None = None
    # Why the socket has to end.
    over: asyncio.Future[CloseSocket] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, close: CloseSocket) -> None:
        """Ends the socket; the first reason counts."""
        if not self.over.done():
            self.over.set_result(close)

    def known_caller(self) -> Caller:
        """Who asks. Sockets take no operation before that is known."""
        if self.caller is None:
            raise RuntimeError("an operation ran before its caller was known")
        return self.caller

    async def leave(self) -> None:
        """The socket is gone."""
        if self.ending is not None:
            await end(self.ending)
        if self.seat is not None:
            self.seat()
            self.seat = None

    @property
    def loaders(self) -> Loaders:
        """The loaders of the operation that is running."""
        found = _loaders.get()
        return found if found is not None else self.renew()

    def renew(self) -> Loaders:
        """New loaders and a new budget: for a new operation, or for the next event of a subscription."""
        limits = Budget(self.max_values)
        fresh = Loaders(Calls(self.clients, self.known_caller(), limits, self.forwarded_for), methods())
        _loaders.set(fresh)
        budget.set(limits)
        return fresh
