"""The gRPC door and the clients, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from treadle.auth.v1.auth_service_pb2 import GetJwksRequest, LoginRequest
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from treadle.execution.v1.execution_service_pb2 import WatchExecutionRequest
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.user.v1.user_service_pb2 import GetMeRequest
from treadle.user.v1.user_service_pb2_grpc import UserServiceStub

from mesh import errors
from mesh.call import Call, Caller, current_call
from mesh.chain.errors import MASKED
from mesh.clients import Clients
from mesh.contract import methods
from mesh.host import Host, hosted
from mesh.identity.service_token import ServiceTokens
from mesh.settings import Settings
from mesh.status import DETAILS
from tests.integration.mesh.hosts import SECRET, Mesh, local_settings

GET_ME = methods()["/treadle.user.v1.UserService/GetMe"]


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
async def channel(host: Host) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(host.grpc_address) as opened:
        yield opened


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def status_of(failure: grpc.aio.AioRpcError) -> Status:
    metadata: Any = failure.trailing_metadata()
    return Status.FromString(dict(metadata)[DETAILS])


def reason_of(failure: grpc.aio.AioRpcError) -> str:
    info = details.ErrorInfo()
    assert status_of(failure).details[0].Unpack(info)
    return str(info.reason)


async def test_a_call_with_a_token_reaches_its_handler(mesh: Mesh, local: Settings, channel: grpc.aio.Channel) -> None:
    call = UserServiceStub(channel).GetMe(GetMeRequest(), metadata=bearer(mesh.auth.token(local)))
    answer = await call
    assert (answer.user.id, answer.user.display_name) == ("u1", "edge")
    headers: Any = await call.trailing_metadata()
    assert dict(headers)["etag"] == '"1"'


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        (bearer("forged"), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"),
        ((("x-treadle-service-token", "forged"),), grpc.StatusCode.UNAUTHENTICATED, "SERVICE_TOKEN_INVALID"),
    ],
)
async def test_strangers_are_refused(channel: grpc.aio.Channel, metadata: Any, code: grpc.StatusCode, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await UserServiceStub(channel).GetMe(GetMeRequest(), metadata=metadata)
    assert (caught.value.code(), reason_of(caught.value)) == (code, reason)


async def test_a_workload_that_is_not_listed_is_refused(channel: grpc.aio.Channel) -> None:
    metadata = (("x-treadle-service-token", ServiceTokens(b"k" * 32).token("block")),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await UserServiceStub(channel).GetMe(GetMeRequest(), metadata=metadata)
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"life_s": -1}, (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")),
        ({"scope": "nothing:read"}, (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")),
    ],
)
async def test_tokens_that_do_not_reach(
    mesh: Mesh, local: Settings, channel: grpc.aio.Channel, changes: dict[str, Any], refusal: tuple[grpc.StatusCode, str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await UserServiceStub(channel).GetMe(GetMeRequest(), metadata=bearer(mesh.auth.token(local, **changes)))
    assert (caught.value.code(), reason_of(caught.value)) == refusal


async def test_a_secret_in_an_exception_never_reaches_a_grpc_client(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await AuthServiceStub(channel).Login(LoginRequest(email="a@x.test", password="a password"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == MASKED
    assert SECRET not in repr(caught.value) + repr(caught.value.trailing_metadata())


async def test_a_secret_in_an_exception_never_reaches_an_http_client(host: Host) -> None:
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}") as client:
        answer = await client.post("/v1/auth/login", json={"email": "a@x.test", "password": "a password"})
    assert answer.status_code == 500
    body = json.loads(answer.text)
    assert (body["code"], body["message"]) == (13, MASKED)
    assert SECRET not in answer.text + repr(answer.headers)


async def test_a_secret_never_comes_in_the_middle_of_a_stream(mesh: Mesh, local: Settings, channel: grpc.aio.Channel) -> None:
    request = WatchExecutionRequest(execution_id="e", after_seq=200)
    stream = aiter(ExecutionServiceStub(channel).WatchExecution(request, metadata=bearer(mesh.auth.token(local))))
    assert [(await anext(stream)).event.seq for _ in range(3)] == [201, 202, 203]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(stream)
    assert caught.value.details() == MASKED


async def test_bytes_that_are_no_message_are_an_invalid_argument(mesh: Mesh, local: Settings, channel: grpc.aio.Channel) -> None:
    raw: Any = channel.unary_unary(GET_ME.full_name, request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(b"\xff\xff\xff", metadata=bearer(mesh.auth.token(local)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == "MESSAGE_MALFORMED"


async def test_what_strangers_send_is_not_looked_at(host: Host, channel: grpc.aio.Channel) -> None:
    raw: Any = channel.unary_unary(GET_ME.full_name, request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}") as client:
        answer = await client.patch("/v1/users/me", content=b"{", headers={"content-type": "text/plain"})
    assert answer.status_code == 401
    address, _, port = host.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    try:
        # The answer is there before the body is.
        writer.write(b"PATCH /v1/users/me HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        async with asyncio.timeout(5):
            assert b" 401 " in await reader.readline()
    finally:
        writer.close()


@pytest.mark.parametrize("path", ["/treadle.user.v1.UserService/Nothing", "/nobody.v1.Service/Get"])
async def test_unknown_methods_are_refused_in_our_words(channel: grpc.aio.Channel, path: str) -> None:
    raw: Any = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(b"")
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


async def test_the_id_of_a_request_comes_back_over_grpc(mesh: Mesh, local: Settings, channel: grpc.aio.Channel) -> None:
    metadata = (*bearer(mesh.auth.token(local)), ("x-request-id", "mine-1"))
    call = UserServiceStub(channel).GetMe(GetMeRequest(), metadata=metadata)
    await call
    trailing: Any = await call.trailing_metadata()
    assert dict(trailing)["x-request-id"] == "mine-1"
    stream = ExecutionServiceStub(channel).WatchExecution(WatchExecutionRequest(execution_id="e"), metadata=metadata)
    assert [message.event.seq async for message in stream] == [1, 2, 3]
    trailing = await stream.trailing_metadata()
    assert dict(trailing)["x-request-id"] == "mine-1"


async def test_a_client_that_does_not_wait_cancels_the_handler_behind_http(mesh: Mesh, local: Settings, host: Host) -> None:
    mesh.users.gate.clear()
    mesh.users.cancelled.clear()
    try:
        async with httpx.AsyncClient(base_url=f"http://{host.http_address}", timeout=0.3) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/v1/users/me", headers=dict(bearer(mesh.auth.token(local))))
        async with asyncio.timeout(5):
            await mesh.users.cancelled.wait()
    finally:
        mesh.users.gate.set()


async def test_a_client_that_goes_away_ends_its_stream(mesh: Mesh, local: Settings, channel: grpc.aio.Channel) -> None:
    assert mesh.executions is not None
    mesh.executions.stream_ended.clear()
    request = WatchExecutionRequest(execution_id="e", after_seq=100)
    stream = ExecutionServiceStub(channel).WatchExecution(request, metadata=bearer(mesh.auth.token(local)))
    async for message in stream:
        if message.event.seq == 103:
            break
    stream.cancel()
    async with asyncio.timeout(5):
        await mesh.executions.stream_ended.wait()


async def test_the_deadline_of_a_client_cancels_the_handler(mesh: Mesh, local: Settings, channel: grpc.aio.Channel) -> None:
    mesh.users.gate.clear()
    mesh.users.cancelled.clear()
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(channel).GetMe(GetMeRequest(), timeout=0.1, metadata=bearer(mesh.auth.token(local)))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await mesh.users.cancelled.wait()
    finally:
        mesh.users.gate.set()


async def test_health_answers_for_each_service(channel: grpc.aio.Channel) -> None:
    for name in ("", "auth", "treadle.user.v1.UserService", "treadle.execution.v1.ExecutionService"):
        answer = await HealthStub(channel).Check(HealthCheckRequest(service=name))
        assert answer.status == HealthCheckResponse.SERVING


async def test_metrics_are_served_inside_and_not_through_the_edge(host: Host) -> None:
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}") as client:
        inside = await client.get("/metrics")
        through_edge = await client.get("/metrics", headers={"x-forwarded-for": "203.0.113.9"})
        ready = await client.get("/healthz")
        missing = await client.get("/nothing/here")
    assert "treadle_loop_lag_seconds" in inside.text
    assert "treadle_test_watched_total" in inside.text
    assert through_edge.status_code == 404
    assert ready.status_code == 200
    assert missing.json()["code"] == 5


class TestClients:
    """Calls between services."""

    async def test_identity_and_errors_pass(self, mesh: Mesh, local: Settings, host: Host) -> None:
        clients = host.resources.clients.for_workload("gateway")
        stub = ExecutionServiceStub(clients.channel("execution"))
        token = mesh.auth.token(local)
        outer = Call(GET_ME, {}, 1e12, request_id="req-1", caller=Caller(user_id="u1", bearer=token))
        marker = current_call.set(outer)
        try:
            request = WatchExecutionRequest(execution_id="e")
            assert [message.event.seq async for message in stub.WatchExecution(request)] == [1, 2, 3]
            with pytest.raises(errors.InternalError) as caught:
                async for _message in stub.WatchExecution(WatchExecutionRequest(execution_id="e", after_seq=200)):
                    pass
            assert caught.value.message == MASKED
        finally:
            current_call.reset(marker)

    async def test_a_workload_that_is_not_listed_is_refused(self, host: Host) -> None:
        clients = host.resources.clients.for_workload("block")
        with pytest.raises(errors.PermissionDeniedError) as caught:
            await UserServiceStub(clients.channel("user")).GetMe(GetMeRequest())
        assert caught.value.reason == "CALLER_NOT_ALLOWED"

    async def test_what_remains_of_the_callers_deadline_bounds_the_call(self, host: Host) -> None:
        stub = AuthServiceStub(host.resources.clients.for_workload("gateway").channel("auth"))
        outer = host.dispatcher.new_call(GET_ME, {}, 5)
        marker = current_call.set(outer)
        try:
            await stub.GetJwks(GetJwksRequest())
            outer.deadline -= 10
            with pytest.raises(errors.DeadlineExceededError):
                await stub.GetJwks(GetJwksRequest())
        finally:
            current_call.reset(marker)

    async def test_a_service_that_is_away_is_unavailable_and_its_address_stays_inside(self, local: Settings) -> None:
        clients = Clients(local_settings(service_targets="auth=127.0.0.1:1"), "gateway", ServiceTokens(b"k" * 32))
        try:
            with pytest.raises(errors.UnavailableError) as caught:
                await AuthServiceStub(clients.channel("auth")).GetJwks(GetJwksRequest())
            assert "127.0.0.1" not in caught.value.message
        finally:
            await clients.close()

    def test_a_service_without_a_target(self, local: Settings) -> None:
        with pytest.raises(LookupError):
            Clients(local, "gateway", ServiceTokens(b"k" * 32)).channel("graph")
