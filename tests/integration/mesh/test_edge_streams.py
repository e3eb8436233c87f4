"""Streams that last for hours, in seconds: a real Envoy with its patience shortened."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import pytest_asyncio
from treadle.execution.v1.execution_service_pb2 import WatchExecutionRequest
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub

from mesh.edge.policy import EdgePolicy, Patience
from mesh.host import Host, hosted
from mesh.settings import Settings
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Executions, Mesh, local_settings

# From this seq on the stream of the test host has three events and then none, for ever.
SILENT = 100
WATCH = f"/v1/executions/e1:watch?after_seq={SILENT}"
SHORT = Patience(headers_s=1, request_s=1, idle_request_s=1, idle_connection_s=1, ping_every_s=1, ping_timeout_s=1)
# Longer than every limit of `SHORT` that could cut a stream.
SILENCE_S = 3.5


@pytest.fixture(scope="module")
def local() -> Settings:
    return local_settings()


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return Mesh()


@pytest_asyncio.fixture(scope="module")
async def host(mesh: Mesh, local: Settings) -> AsyncIterator[Host]:
    async with hosted(mesh.services(), local) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def edge(host: Host) -> AsyncIterator[str]:
    async with edge_before(host, policy=EdgePolicy(patience=SHORT)) as address:
        yield address


@pytest.fixture
def token(mesh: Mesh, local: Settings) -> dict[str, str]:
    return {"authorization": f"Bearer {mesh.auth.token(local)}"}


@pytest.fixture
def executions(mesh: Mesh) -> Executions:
    """The service's side; whether its stream has ended is forgotten."""
    assert mesh.executions is not None
    mesh.executions.stream_ended.clear()
    return mesh.executions


async def ended(executions: Executions) -> None:
    """Waits until the handler of the stream was cancelled."""
    async with asyncio.timeout(10):
        await executions.stream_ended.wait()


async def test_a_silent_grpc_stream_is_not_cut_and_its_cancel_reaches_the_service(
    edge: str, token: dict[str, str], executions: Executions
) -> None:
    async with grpc.aio.insecure_channel(edge) as channel:
        request = WatchExecutionRequest(execution_id="e1", after_seq=SILENT)
        call = ExecutionServiceStub(channel).WatchExecution(request, metadata=tuple(token.items()))
        for _ in range(3):
            await call.read()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                await asyncio.shield(asyncio.ensure_future(call.read()))
        assert not executions.stream_ended.is_set()
        call.cancel()
        await ended(executions)


async def test_a_silent_http_stream_is_not_cut_and_its_end_reaches_the_service(
    edge: str, token: dict[str, str], executions: Executions
) -> None:
    async with httpx.AsyncClient(base_url=f"http://{edge}", timeout=20) as client, client.stream("GET", WATCH, headers=token) as answer:
        lines = answer.aiter_lines()
        for _ in range(3):
            await anext(lines)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                await anext(lines)
        assert not executions.stream_ended.is_set()
    await ended(executions)


async def test_who_leaves_without_a_word_is_found_out_by_pings(edge: str, token: dict[str, str], executions: Executions) -> None:
    host, _, port = edge.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    headers = [(":method", "GET"), (":path", WATCH), (":scheme", "http"), (":authority", edge), *token.items()]
    connection.send_headers(1, headers, end_stream=True)
    writer.write(connection.data_to_send())
    started = time.monotonic()
    seen = b""
    while b'"seq":103' not in seen:
        for event in connection.receive_data(await reader.read(65536)):
            seen += event.data if isinstance(event, h2.events.DataReceived) else b""
    # From here on nothing is read and no ping answered, as from a laptop that was closed; the connection itself stays.
    await ended(executions)
    assert time.monotonic() - started < 10
    writer.close()


async def test_what_is_no_stream_has_its_limits(edge: str, token: dict[str, str]) -> None:
    host, _, port = edge.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = ["PATCH /v1/users/me HTTP/1.1", f"host: {edge}", "content-type: application/json", "content-length: 100"]
    lines += [f"{name}: {value}" for name, value in token.items()]
    writer.write("\r\n".join([*lines, "", '{"display_name":']).encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"REQUEST_TIMEOUT"' in answer
    writer.close()
