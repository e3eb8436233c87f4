"""What the edge says to those whose token it does not take, over REST and over gRPC."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from typing import cast

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from google.rpc.status_pb2 import Status
from treadle.execution.v1.execution_service_pb2 import WatchExecutionRequest
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.graph.v1.graph_service_pb2 import ListGraphsRequest
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub
from treadle.user.v1.user_service_pb2 import GetMeRequest, GetMeResponse
from treadle.user.v1.user_service_pb2_grpc import UserServiceStub

from mesh.errors import Code, TreadleError
from mesh.host import Host, hosted
from mesh.settings import Settings
from mesh.status import DETAILS, from_status
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Mesh, local_settings

GET_ME = "/treadle.user.v1.UserService/GetMe"


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
    async with edge_before(host, ListGraphs=0.5) as address:
        yield address


@pytest_asyncio.fixture
async def client(edge: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{edge}", timeout=20) as made:
        yield made


@pytest_asyncio.fixture
async def channel(edge: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(edge) as opened:
        yield opened


def encoded(part: dict[str, str]) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def refused_tokens(mesh: Mesh, local: Settings) -> dict[str, str]:
    """Tokens that nobody may get in with, and the reasons."""
    _, claims, signature = mesh.auth.token(local).split(".")
    return {
        f"{encoded({'alg': 'ES256', 'kid': 'nobody'})}.{claims}.{signature}": "TOKEN_INVALID",
        f"{encoded({'alg': 'HS256', 'kid': 'test'})}.{claims}.{signature}": "TOKEN_INVALID",
        f"{encoded({'alg': 'ES256'})}.{claims}.AAAA": "TOKEN_INVALID",
        mesh.auth.token(local, aud="other"): "TOKEN_INVALID",
        mesh.auth.token(local, aud=None): "TOKEN_INVALID",
        mesh.auth.token(local, iss="https://evil.example"): "TOKEN_INVALID",
        mesh.auth.token(local, life_s=-100): "TOKEN_EXPIRED",
        "nonsense": "TOKEN_INVALID",
        "": "TOKEN_MISSING",
    }


def typed(failure: grpc.aio.AioRpcError) -> TreadleError:
    """The error in the details of a failed call, which must agree with its status."""
    trailing = cast(Iterable[tuple[str, str | bytes]], failure.trailing_metadata() or ())
    [packed] = [value for name, value in trailing if name == DETAILS]
    assert isinstance(packed, bytes)
    status = Status.FromString(packed)
    assert (status.code, status.message) == (failure.code().value[0], failure.details())
    return from_status(status)


async def test_rest_refuses_each_bad_token_with_401(client: httpx.AsyncClient, mesh: Mesh, local: Settings) -> None:
    for token, reason in refused_tokens(mesh, local).items():
        answer = await client.get("/v1/users/me", headers={"authorization": f"Bearer {token}"} if token else {})
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (401, reason), token
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_grpc_refuses_each_bad_token_with_unauthenticated_and_its_reason(
    channel: grpc.aio.Channel, mesh: Mesh, local: Settings
) -> None:
    for token, reason in refused_tokens(mesh, local).items():
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(channel).GetMe(GetMeRequest(), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, token
        assert typed(caught.value).reason == reason


async def test_grpc_web_reads_the_same_details(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    answer = await client.post(GET_ME, content=b"\0\0\0\0\0", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/grpc-web+proto")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["grpc-status"] == str(int(Code.UNAUTHENTICATED))
    status = Status.FromString(base64.b64decode(answer.headers[DETAILS] + "=="))
    assert from_status(status).reason == "TOKEN_MISSING"


async def test_grpc_errors_of_the_edge_carry_details(channel: grpc.aio.Channel, mesh: Mesh, local: Settings) -> None:
    metadata = [("authorization", f"Bearer {mesh.auth.token(local)}")]
    with pytest.raises(grpc.aio.AioRpcError) as away:
        await GraphServiceStub(channel).ListGraphs(ListGraphsRequest(), metadata=metadata)
    error = typed(away.value)
    assert (error.code, error.reason, error.retry_after_s) == (Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", 1.0)
    unknown = channel.unary_unary("/treadle.graph.v1.NoService/Get", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await unknown(b"", metadata=metadata)
    error = typed(missing.value)
    assert (error.code, error.reason) == (Code.UNIMPLEMENTED, "METHOD_UNKNOWN")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_of_a_token_may_be_written_in_any_of_the_usual_ways(
    client: httpx.AsyncClient, channel: grpc.aio.Channel, mesh: Mesh, local: Settings, scheme: str
) -> None:
    authorization = f"{scheme} {mesh.auth.token(local)}"
    assert (await client.get("/v1/users/me", headers={"authorization": authorization})).status_code == 200
    answer: GetMeResponse = await UserServiceStub(channel).GetMe(GetMeRequest(), metadata=[("authorization", authorization)])
    assert answer.user.id == "u1"


async def test_a_stream_ends_with_its_token_over_grpc_and_rest(
    client: httpx.AsyncClient, channel: grpc.aio.Channel, mesh: Mesh, local: Settings
) -> None:
    authorization = f"Bearer {mesh.auth.token(local, life_s=1.5)}"
    request = WatchExecutionRequest(execution_id="e", after_seq=100)
    stream = ExecutionServiceStub(channel).WatchExecution(request, metadata=[("authorization", authorization)])
    path = "/v1/executions/e:watch?after_seq=100"
    async with asyncio.timeout(10), client.stream("GET", path, headers={"authorization": authorization}) as response:
        lines = [json.loads(line) async for line in response.aiter_lines()]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            assert len([message async for message in stream]) == 0
    assert [line["seq"] for line in lines[:-1]] == [101, 102, 103]
    assert (lines[-1]["error"]["code"], lines[-1]["error"]["details"][0]["reason"]) == (16, "TOKEN_EXPIRED")
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert typed(caught.value).reason == "TOKEN_EXPIRED"
