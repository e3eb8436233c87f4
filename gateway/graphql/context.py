"""What resolvers know beside their arguments: who asks, and the loaders of the operation."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket

from gateway.channels import Channels
from gateway.graphql.calls import Calls
from gateway.graphql.loaders import Loaders
from mesh.call import Caller
from mesh.clients import Clients
from mesh.contract import methods

_loaders: ContextVar[Loaders | None] = ContextVar("graphql_loaders", default=None)


@dataclass(slots=True)
class Context:
    """One request, or one socket. `connection_params` is what a socket's client said of itself; `caller` is None before it is known."""

    clients: Clients
    channels: Channels
    caller: Caller | None = None
    connection_params: dict[str, Any] | None = None
    websocket: WebSocket | None = None
    # Gives the socket's place back.
    seat: Callable[[], None] | None = None
    # Ends the socket with its token.
    ending: asyncio.Task[None] | None = None

    def known_caller(self) -> Caller:
        """Who asks. Sockets take no operation before that is known."""
        if self.caller is None:
            raise RuntimeError("an operation ran before its caller was known")
        return self.caller

    async def leave(self) -> None:
        """The socket is gone."""
        if self.ending is not None:
            self.ending.cancel()
            await asyncio.gather(self.ending, return_exceptions=True)
        if self.seat is not None:
            self.seat()
            self.seat = None

    @property
    def loaders(self) -> Loaders:
        """The loaders of the operation that is running."""
        found = _loaders.get()
        return found if found is not None else self.renew()

    def renew(self) -> Loaders:
        """New loaders: for a new operation, or for the next event of a subscription."""
        fresh = Loaders(Calls(self.clients, self.known_caller()), methods())
        _loaders.set(fresh)
        return fresh
