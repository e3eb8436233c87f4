"""How a process starts, tells its health, and stops."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from pydantic import SecretStr
from treadle.execution.v1.execution_service_pb2 import WatchExecutionRequest
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.user.v1.user_service_pb2 import GetMeRequest
from treadle.user.v1.user_service_pb2_grpc import UserServiceStub

from mesh.contract import ContractError
from mesh.host import find_services, hosted
from mesh.http_server import bind
from mesh.resources import Resources
from mesh.service import Running, Service
from mesh.settings import Settings
from tests.integration.mesh.hosts import Mesh, local_settings

PATIENCE_S = 15.0


async def status(channel: grpc.aio.Channel, service: str) -> int:
    answer = await HealthStub(channel).Check(HealthCheckRequest(service=service))
    return int(answer.status)


async def until_status(channel: grpc.aio.Channel, service: str, wanted: int) -> None:
    """Watches health until it is as wanted; fails after PATIENCE_S."""
    watch = HealthStub(channel).Watch(HealthCheckRequest(service=service), timeout=PATIENCE_S)
    async for answer in watch:
        if answer.status == wanted:
            break
    watch.cancel()


async def test_draining_finishes_calls_in_flight_and_sends_streams_elsewhere() -> None:
    mesh, settings = Mesh(), local_settings()
    token = (("authorization", f"Bearer {mesh.auth.token(settings)}"),)
    context = hosted(mesh.services(), settings)
    host = await context.__aenter__()
    async with grpc.aio.insecure_channel(host.grpc_address) as channel:
        mesh.users.gate.clear()
        in_flight = asyncio.ensure_future(UserServiceStub(channel).GetMe(GetMeRequest(), metadata=token))
        async with asyncio.timeout(PATIENCE_S):
            await mesh.users.arrived.wait()
        stream = ExecutionServiceStub(channel).WatchExecution(WatchExecutionRequest(execution_id="e", after_seq=100), metadata=token)
        assert (await anext(aiter(stream))).event.seq == 101

        stopping = asyncio.create_task(context.__aexit__(None, None, None))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _message in stream:
                pass
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not in_flight.done()
        mesh.users.gate.set()
        assert (await in_flight).user.id == "u1"
        await stopping


async def test_a_call_that_does_not_end_is_cut_after_the_drain_time() -> None:
    mesh, settings = Mesh(), local_settings(drain_s=0.3)
    mesh.users.gate.clear()
    context = hosted(mesh.services(), settings)
    host = await context.__aenter__()
    async with grpc.aio.insecure_channel(host.grpc_address) as channel:
        metadata = (("authorization", f"Bearer {mesh.auth.token(settings)}"),)
        in_flight = asyncio.ensure_future(UserServiceStub(channel).GetMe(GetMeRequest(), metadata=metadata))
        async with asyncio.timeout(PATIENCE_S):
            await mesh.users.arrived.wait()
        start = time.monotonic()
        await context.__aexit__(None, None, None)
        assert time.monotonic() - start < 4
        with pytest.raises(grpc.aio.AioRpcError):
            await in_flight


async def test_a_service_that_says_it_is_ill_is_not_serving_and_the_others_are() -> None:
    mesh = Mesh()
    async with hosted(mesh.services()[:1], local_settings()) as host, grpc.aio.insecure_channel(host.grpc_address) as channel:
        await until_status(channel, "auth", HealthCheckResponse.SERVING)
        mesh.is_healthy = False
        await until_status(channel, "auth", HealthCheckResponse.NOT_SERVING)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{host.http_address}/healthz")).status_code == 503
        mesh.is_healthy = True
        await until_status(channel, "", HealthCheckResponse.SERVING)


async def test_health_follows_the_database(settings: Settings) -> None:
    """A door in front of the database is shut and opened again: health says so, for those services that need it."""
    url = settings.database_url.get_secret_value()
    async with Door(url) as door:
        changed = local_settings(database_url=SecretStr(door.url))
        async with hosted(Mesh().services("postgres"), changed) as host, grpc.aio.insecure_channel(host.grpc_address) as channel:
            await until_status(channel, "user", HealthCheckResponse.SERVING)
            await door.shut()
            await until_status(channel, "user", HealthCheckResponse.NOT_SERVING)
            assert await status(channel, "") == HealthCheckResponse.NOT_SERVING
            assert await status(channel, "execution") == HealthCheckResponse.SERVING
            await door.open()
            await until_status(channel, "user", HealthCheckResponse.SERVING)


async def test_a_process_starts_without_its_database_and_says_so() -> None:
    away = local_settings(database_url=SecretStr("postgresql://nobody:x@127.0.0.1:1/none"))
    async with hosted(Mesh().services("postgres"), away) as host, grpc.aio.insecure_channel(host.grpc_address) as channel:
        assert await status(channel, "user") == HealthCheckResponse.NOT_SERVING


async def test_two_processes_never_share_a_port() -> None:
    async with hosted(Mesh().services(), local_settings()) as host:
        with pytest.raises(RuntimeError):
            async with hosted(Mesh().services(), local_settings(grpc_address=host.grpc_address)):
                pass
        with pytest.raises(OSError, match="in use"):
            async with hosted(Mesh().services(), local_settings(http_address=host.http_address)):
                pass


def test_an_address_that_is_taken_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            bind(f"127.0.0.1:{taken.getsockname()[1]}")


def test_an_unknown_service_is_named() -> None:
    with pytest.raises(LookupError, match="nonsense"):
        find_services(["nonsense"])


async def test_a_process_without_all_handlers_of_its_contracts_does_not_start() -> None:
    @asynccontextmanager
    async def build(_: Resources) -> AsyncIterator[Running]:
        yield Running({"treadle.user.v1.UserService": object()})

    with pytest.raises(
        ContractError, match=r"without a handler: treadle\.user\.v1\.UserService/GetMe, treadle\.user\.v1\.UserService/UpdateMe"
    ):
        async with hosted([Service("user", build)], local_settings()):
            pass


async def test_a_process_without_a_mesh_key_does_not_start() -> None:
    with pytest.raises(ValueError, match="service key"):
        async with hosted(Mesh().services(), local_settings(service_key=SecretStr(""))):
            pass


class Door:
    """A TCP relay in front of a server, which tests can shut."""

    def __init__(self, url: str) -> None:
        head, _, tail = url.rpartition("@")
        address, _, path = tail.partition("/")
        self._host, _, port = address.partition(":")
        self._target_port = int(port)
        self._head, self._path = head, path
        self._port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The server's URL through the door."""
        return f"{self._head}@127.0.0.1:{self._port}/{self._path}"

    async def __aenter__(self) -> "Door":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()

    async def open(self) -> None:
        """Lets connections in, on the same port each time."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuses new connections and cuts those that are open."""
        if self._server is not None:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._target_port)
        self._open |= {writer, far_writer}
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()
