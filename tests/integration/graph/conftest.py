"""A process with the graph, block and auth services on real servers, and users of it."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest_asyncio
from treadle.auth.v1.auth_service_pb2 import RegisterRequest
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub

from mesh.host import Host, find_services, hosted
from mesh.settings import Settings


@pytest_asyncio.fixture(scope="session")
async def host(migrated: Settings) -> AsyncIterator[Host]:
    """One process that serves auth, block and graph."""
    async with hosted(find_services(["auth", "user", "block", "graph"]), migrated) as running:
        yield running


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account. `graphs` calls GraphService as them."""

    id: str
    token: str
    graphs: "Graphs"


class Graphs:
    """GraphService over gRPC with one user's token: `await graphs("GetGraph", request)`."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._stub: Any = GraphServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def __call__(self, method: str, request: Any, *more: tuple[str, str]) -> Any:
        return await getattr(self._stub, method)(request, metadata=(*self._metadata, *more), timeout=20)


async def register(channel: grpc.aio.Channel) -> User:
    """Makes an account."""
    auth: Any = AuthServiceStub(channel)
    request = RegisterRequest(email=f"{secrets.token_hex(8)}@example.com", password=secrets.token_urlsafe(24), display_name="Ann")
    answer = await auth.Register(request, timeout=20)
    return User(answer.user.id, answer.access_token, Graphs(channel, answer.access_token))


@pytest_asyncio.fixture
async def make_user(host: Host) -> AsyncIterator[Callable[[], Awaitable[User]]]:
    """Makes accounts."""
    async with grpc.aio.insecure_channel(host.grpc_address) as channel:
        yield lambda: register(channel)


@pytest_asyncio.fixture
async def user(make_user: Callable[[], Awaitable[User]]) -> User:
    """One new account."""
    return await make_user()
