"""A real HTTP server in front of a real dispatcher with handlers that show what arrived."""

from collections.abc import AsyncIterator

import httpx
import pytest

from mesh.chain.errors import Errors
from mesh.chain.idempotency import Idempotency
from mesh.chain.request_id import RequestId
from mesh.chain.validate import Validate
from mesh.dispatch import Dispatcher
from mesh.http.door import http_door
from mesh.http_server import HttpServer, bind
from mesh.validation import violations
from tests.unit.mesh.http.handlers import Blocks, Executions, Graphs, Privacy, Users


@pytest.fixture
def executions() -> Executions:
    """The execution handlers of this test; they keep what they got."""
    return Executions()


@pytest.fixture
def graphs() -> Graphs:
    """The graph handlers of this test."""
    return Graphs()


@pytest.fixture
def privacy() -> Privacy:
    """The privacy handlers of this test."""
    return Privacy()


@pytest.fixture
async def dispatcher(executions: Executions, graphs: Graphs, privacy: Privacy) -> Dispatcher:
    """The chain without auth."""
    servicers = {
        "treadle.graph.v1.GraphService": graphs,
        "treadle.block.v1.BlockService": Blocks(),
        "treadle.execution.v1.ExecutionService": executions,
        "treadle.user.v1.UserService": Users(),
        "treadle.user.v1.PrivacyService": privacy,
    }
    return Dispatcher(servicers, [RequestId(), Errors(), Validate(violations), Idempotency()])


@pytest.fixture
async def door(dispatcher: Dispatcher) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the door."""
    sock, address = bind("127.0.0.1:0")
    server = HttpServer(http_door(dispatcher, max_body_bytes=4 * 1024 * 1024), sock, drain_s=1)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=10) as client:
        yield client
    dispatcher.end_streams()
    await server.stop()
