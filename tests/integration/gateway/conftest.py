"""The gateway on real sockets, with a real bus and cache, in front of a journal that the tests write."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
import orjson
import pytest
import pytest_asyncio
from treadle.auth.v1.auth_service_pb2_grpc import add_AuthServiceServicer_to_server
from treadle.execution.v1.execution_service_pb2_grpc import add_ExecutionServiceServicer_to_server
from treadle.graph.v1.graph_service_pb2_grpc import add_GraphServiceServicer_to_server
from websockets.asyncio.client import ClientConnection, connect

from gateway.app import build
from mesh.bus import Bus, open_bus
from mesh.clients import Clients
from mesh.http_server import HttpServer, bind
from mesh.identity.service_token import ServiceTokens
from mesh.ids import uuid7
from mesh.resources import Resources
from mesh.settings import Settings
from services.auth.account import Account
from services.auth.keys import KeyRing, SigningKey
from services.auth.tokens import AccessTokens
from tests.integration.gateway.journal import Journal

# Sockets that one user may have here.
MAX_SOCKETS = 50


@dataclass(frozen=True)
class Person:
    """A user with a token of their own."""

    id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What they send along."""
        return {"authorization": f"Bearer {self.token}"}


class Conversation:
    """A client's side of a WebSocket, in JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, **frame: Any) -> None:
        """Sends a frame."""
        await self.connection.send(orjson.dumps(frame).decode())

    async def hear(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(10):
            return dict(orjson.loads(await self.connection.recv()))

    async def ask(self, **frame: Any) -> dict[str, Any]:
        """Sends a frame and returns the next one."""
        await self.say(**frame)
        return await self.hear()

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next events; fails on any other frame."""
        heard = [await self.hear() for _ in range(count)]
        assert [frame["type"] for frame in heard] == ["event"] * count
        return [frame["event"] for frame in heard]

    async def closed(self) -> int | None:
        """Waits for the end; returns the close code."""
        async with asyncio.timeout(20):
            await self.connection.wait_closed()
        return self.connection.close_code


@pytest.fixture(scope="session")
def ring() -> KeyRing:
    """The keys of this mesh."""
    return KeyRing([SigningKey.generate()])


@pytest.fixture
def person(ring: KeyRing, settings: Settings) -> Callable[..., Person]:
    """Makes somebody; `ttl_s` is the life of their token."""

    def make(ttl_s: int = 300) -> Person:
        account = Account(uuid7(), "ann@example.com", "Ann")
        return Person(account.id, AccessTokens(ring, settings.issuer, ttl_s).issue(account))

    return make


@pytest.fixture
def ann(person: Callable[..., Person]) -> Person:
    """A user of this test only."""
    return person()


@pytest_asyncio.fixture(scope="session")
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection of the test's own to the bus."""
    opened = await open_bus(nats_url, "test")
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="session")
async def served(settings: Settings, bus: Bus, ring: KeyRing) -> AsyncIterator[tuple[Journal, str]]:
    """The journal and `host:port` of a gateway in front of it."""
    journal = Journal(bus.nc, ring)  # type: ignore[abstract]  # what is missing answers UNIMPLEMENTED
    backend = grpc.aio.server()
    for add in (add_AuthServiceServicer_to_server, add_ExecutionServiceServicer_to_server, add_GraphServiceServicer_to_server):
        add(journal, backend)
    port = backend.add_insecure_port("127.0.0.1:0")
    await backend.start()
    own = settings.model_copy(update={"default_target": f"127.0.0.1:{port}", "max_sockets_per_user": MAX_SOCKETS})
    resources = Resources(own, "gateway", Clients(own, "gateway", ServiceTokens.from_settings(own)))
    await resources.bus()
    async with build(resources) as running:
        assert running.asgi is not None
        sock, address = bind("127.0.0.1:0")
        server = HttpServer(running.asgi, sock, drain_s=2)
        await server.start()
        yield journal, address
        await server.stop()
    await resources.close()
    await backend.stop(0)


@pytest.fixture
def journal(served: tuple[Journal, str]) -> Journal:
    """The journal behind the gateway."""
    return served[0]


@pytest.fixture
def address(served: tuple[Journal, str]) -> str:
    """`host:port` of the gateway."""
    return served[1]


@pytest_asyncio.fixture
async def talk(address: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens conversations, closed at the end of the test. `query` follows the path."""
    opened: list[ClientConnection] = []

    async def start(somebody: Person | None = None, query: str = "", **options: Any) -> Conversation:
        options = {"additional_headers": somebody.headers if somebody else {}, "compression": None} | options
        connection = await connect(f"ws://{address}/v1/ws{query}", **options)
        opened.append(connection)
        return Conversation(connection)

    yield start
    for connection in opened:
        await connection.close()
