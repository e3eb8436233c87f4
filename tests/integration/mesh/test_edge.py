"""The edge as browsers and strangers find it: a real Envoy before real doors."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from treadle.execution.v1.execution_service_pb2 import WatchExecutionRequest
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.user.v1.user_service_pb2 import GetMeRequest, GetMeResponse
from treadle.user.v1.user_service_pb2_grpc import UserServiceStub

from mesh import errors
from mesh.clients import error_of
from mesh.errors import TreadleError
from mesh.host import Host, hosted
from mesh.http.errors import BodyTooLargeError, MediaTypeError, RouteUnknownError, VerbNotAllowedError, http_status
from mesh.identity.service_token import HEADER, ServiceTokens
from mesh.limits import MAX_MESSAGE_BYTES
from mesh.settings import Settings
from mesh.status import to_json
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Mesh, local_settings

ORIGIN = "http://localhost:3000"
GET_ME = "/treadle.user.v1.UserService/GetMe"
EXPOSED = {"etag", "grpc-message", "grpc-status", "grpc-status-details-bin", "retry-after", "x-request-id"}
EMPTY_FRAME = b"\0\0\0\0\0"
GRPC_WEB = "application/grpc-web+proto"


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
    async with edge_before(host, GetMe=0.0, UpdateMe=0.0) as address:
        yield address


@pytest_asyncio.fixture
async def client(edge: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{edge}", timeout=20) as made:
        yield made


@pytest_asyncio.fixture
async def channel(edge: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(edge) as opened:
        yield opened


@pytest.fixture
def token(mesh: Mesh, local: Settings) -> dict[str, str]:
    return {"authorization": f"Bearer {mesh.auth.token(local)}"}


def listed(header: str) -> set[str]:
    """The members of a comma-separated header, in lower case."""
    return {part.strip().lower() for part in header.split(",")}


def reason_of(response: httpx.Response, kind: type[TreadleError]) -> str:
    """The reason in an error's body, whose form, status and code are those of the error class over our own HTTP door."""
    body = response.json()
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert set(body) == {"code", "message", "details"}
    shown = kind("x") if kind not in {BodyTooLargeError, VerbNotAllowedError} else None
    status = http_status(shown) if shown is not None else {BodyTooLargeError: 413, VerbNotAllowedError: 405}[kind]
    assert (response.status_code, body["code"]) == (status, kind.code)
    return str(body["details"][0]["reason"])


class TestCors:
    """What a page of another origin may do."""

    @pytest.mark.parametrize("path", ["/v1/users/me", "/v1/graphs", "/v1/ws-tickets", "/v1/nothing", GET_ME])
    async def test_a_preflight_needs_no_token_and_reaches_no_service(self, client: httpx.AsyncClient, path: str) -> None:
        asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization,x-grpc-web"}
        answer = await client.options(path, headers={"origin": ORIGIN, **asked})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert {"get", "post", "put", "patch", "delete"} <= listed(answer.headers["access-control-allow-methods"])
        allowed = listed(answer.headers["access-control-allow-headers"])
        assert {"authorization", "content-type", "idempotency-key", "if-match", "x-grpc-web", "grpc-timeout"} <= allowed
        assert not any(name.startswith("x-treadle") for name in allowed)

    async def test_an_answer_shows_the_headers_that_clients_need(self, client: httpx.AsyncClient, token: dict[str, str]) -> None:
        answer = await client.get("/v1/users/me", headers={"origin": ORIGIN, **token})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert listed(answer.headers["access-control-expose-headers"]) >= EXPOSED
        assert answer.headers["etag"]
        assert "origin" in listed(answer.headers["vary"])

    async def test_errors_of_the_edge_can_be_read_too(self, client: httpx.AsyncClient, token: dict[str, str]) -> None:
        for path, status, headers in (("/v1/users/me", 401, {}), ("/v1/graphs", 503, token)):
            answer = await client.get(path, headers={"origin": ORIGIN, **headers})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert listed(answer.headers["access-control-expose-headers"]) >= EXPOSED

    async def test_grpc_web_works_from_another_origin(self, client: httpx.AsyncClient, token: dict[str, str]) -> None:
        headers = {"origin": ORIGIN, "content-type": GRPC_WEB, "x-grpc-web": "1", **token}
        answer = await client.post(GET_ME, content=EMPTY_FRAME, headers=headers)
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert listed(answer.headers["access-control-expose-headers"]) >= EXPOSED
        assert b"grpc-status:0" in answer.content

    @pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost.evil.example", "null", "https://notlocalhost"])
    async def test_pages_from_elsewhere_get_nothing(self, client: httpx.AsyncClient, token: dict[str, str], origin: str) -> None:
        preflight = await client.options("/v1/users/me", headers={"origin": origin, "access-control-request-method": "GET"})
        actual = await client.get("/v1/users/me", headers={"origin": origin, **token})
        for answer in (preflight, actual):
            assert "access-control-allow-origin" not in answer.headers


class TestForgedHeaders:
    """Only services may say who they are."""

    @pytest.mark.parametrize("name", [HEADER, HEADER.title(), HEADER.upper()])
    async def test_a_service_token_from_outside_has_no_effect_even_when_it_is_genuine(
        self, client: httpx.AsyncClient, token: dict[str, str], name: str
    ) -> None:
        genuine = ServiceTokens(b"k" * 32).token("execution")
        assert (await client.get("/v1/users/me", headers={**token, name: genuine})).json()["display_name"] == "edge"
        web = await client.post(GET_ME, content=EMPTY_FRAME, headers={**token, "content-type": GRPC_WEB, name: genuine})
        assert b"edge" in web.content
        assert b"execution" not in web.content
        # Without a token of a user, a service would be let in.
        assert (await client.get("/v1/users/me", headers={name: genuine})).status_code == 401

    async def test_nor_over_grpc(self, channel: grpc.aio.Channel, token: dict[str, str]) -> None:
        metadata = (*token.items(), (HEADER, ServiceTokens(b"k" * 32).token("execution")))
        answer: GetMeResponse = await UserServiceStub(channel).GetMe(GetMeRequest(), metadata=metadata)
        assert answer.user.display_name == "edge"

    async def test_nor_does_a_broken_one_refuse(self, client: httpx.AsyncClient, token: dict[str, str]) -> None:
        odd = {HEADER: "forged", "x-treadle-caller": "execution", "x-treadle-user": "root"}
        answer = await client.get("/v1/users/me", headers={**token, **odd})
        assert answer.json()["id"] == "u1"


class TestErrors:
    """The edge says what the services would have said."""

    async def test_who_has_no_valid_token(self, client: httpx.AsyncClient, mesh: Mesh, local: Settings) -> None:
        good = mesh.auth.token(local)
        header, claims, _ = good.split(".")
        unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
        expected = {
            "": "TOKEN_MISSING",
            "Basic Zm9vOmJhcg==": "TOKEN_MISSING",
            f"Bearer {mesh.auth.token(local, life_s=-100)}": "TOKEN_EXPIRED",
            "Bearer nonsense": "TOKEN_INVALID",
            f"Bearer {header}.{claims}.AAAA": "TOKEN_INVALID",
            f"Bearer {unsigned}.{claims}.": "TOKEN_INVALID",
            f"Bearer {Mesh().auth.token(local)}": "TOKEN_INVALID",
            f"Bearer {mesh.auth.token(local.model_copy(update={'issuer': 'https://evil.example'}))}": "TOKEN_INVALID",
        }
        for authorization, reason in expected.items():
            answer = await client.get("/v1/users/me", headers={"authorization": authorization} if authorization else {})
            assert reason_of(answer, errors.UnauthenticatedError) == reason
            assert answer.headers["www-authenticate"] == "Bearer"

    async def test_unknown_paths(self, client: httpx.AsyncClient, token: dict[str, str]) -> None:
        for path in ("/v1/nothing", "/treadle.graph.v1.NoService/Get", "/nothing", "/metrics"):
            assert reason_of(await client.get(path, headers=token), RouteUnknownError) == "ROUTE_UNKNOWN"

    async def test_verbs_and_types(self, client: httpx.AsyncClient, token: dict[str, str]) -> None:
        deleted = await client.delete("/v1/users/me", headers=token)
        assert reason_of(deleted, VerbNotAllowedError) == "VERB_NOT_ALLOWED"
        assert deleted.headers["allow"] == "GET, HEAD, PATCH"
        as_xml = await client.patch("/v1/users/me", content=b"<a/>", headers={**token, "content-type": "application/xml"})
        assert reason_of(as_xml, MediaTypeError) == "MEDIA_TYPE_UNSUPPORTED"
        as_json = await client.post(GET_ME, json={}, headers=token)
        assert reason_of(as_json, MediaTypeError) == "MEDIA_TYPE_UNSUPPORTED"
        assert reason_of(await client.get(GET_ME, headers=token), MediaTypeError) == "MEDIA_TYPE_UNSUPPORTED"

    async def test_too_large_a_request_is_refused_in_the_same_words_everywhere(
        self, client: httpx.AsyncClient, channel: grpc.aio.Channel, token: dict[str, str]
    ) -> None:
        headers, over = {**token, "content-type": "application/json"}, MAX_MESSAGE_BYTES + 1
        expected = json.loads(to_json(BodyTooLargeError(MAX_MESSAGE_BYTES)))
        get_me: Any = channel.unary_unary(GET_ME, request_serializer=bytes, response_deserializer=bytes)
        for size in (over, 3 * over):
            answer = await client.patch("/v1/users/me", content=b" " * size, headers=headers)
            assert reason_of(answer, BodyTooLargeError) == "BODY_TOO_LARGE"
            assert answer.json() == expected
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await get_me(b"\0" * size, metadata=tuple(token.items()))
            assert json.loads(to_json(error_of(caught.value, "user"))) == expected

    async def test_a_service_that_is_away(self, client: httpx.AsyncClient, channel: grpc.aio.Channel, token: dict[str, str]) -> None:
        answer = await client.get("/v1/graphs", headers=token)
        assert reason_of(answer, errors.UnavailableError) == "UPSTREAM_UNAVAILABLE"
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["details"][1]["retry_delay"] == "1s"
        raw: Any = channel.unary_unary("/treadle.graph.v1.GraphService/ListGraphs", request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(b"", metadata=tuple(token.items()))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    async def test_a_service_that_takes_too_long(self, client: httpx.AsyncClient, mesh: Mesh, token: dict[str, str]) -> None:
        mesh.users.gate.clear()
        mesh.users.cancelled.clear()
        try:
            answer = await client.get("/v1/users/me", headers=token)
            assert reason_of(answer, errors.DeadlineExceededError) == "UPSTREAM_TIMEOUT"
            async with asyncio.timeout(5):
                await mesh.users.cancelled.wait()
        finally:
            mesh.users.gate.set()

    async def test_what_is_no_proper_http(self, client: httpx.AsyncClient, token: dict[str, str]) -> None:
        escaped = await client.get("/v1/graphs/a%2Fb", headers=token)
        assert reason_of(escaped, errors.InvalidArgumentError) == "BAD_REQUEST"
        upgraded = await client.get("/v1/users/me", headers={**token, "connection": "upgrade", "upgrade": "odd"})
        assert reason_of(upgraded, errors.PermissionDeniedError) == "FORBIDDEN"
        swollen = await client.get("/v1/users/me", headers={**token, "x-a": "b" * 70_000})
        assert (swollen.status_code, swollen.json()["details"][0]["reason"]) == (431, "HEADERS_TOO_LARGE")

    @pytest.mark.parametrize("path", ["/v1/users/me", "/v1/nothing", "/v1/graphs", "/nothing"])
    async def test_the_id_of_a_request_comes_back(self, client: httpx.AsyncClient, token: dict[str, str], path: str) -> None:
        for headers in (token, {}):
            assert (await client.get(path, headers={**headers, "x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"
            assert (await client.get(path, headers=headers)).headers["x-request-id"]


async def test_a_service_is_asked_once_whatever_it_answers(client: httpx.AsyncClient, mesh: Mesh, token: dict[str, str]) -> None:
    mesh.users.fault = errors.UnavailableError("Away.", reason="DEPENDENCY_UNAVAILABLE", retry_after_s=2.5)
    before = mesh.users.calls
    try:
        answer = await client.get("/v1/users/me", headers=token)
    finally:
        mesh.users.fault = None
    assert reason_of(answer, errors.UnavailableError) == "DEPENDENCY_UNAVAILABLE"
    assert answer.headers["retry-after"] == "3"
    assert mesh.users.calls == before + 1


async def test_a_client_that_goes_away_ends_its_call_behind_the_edge(
    client: httpx.AsyncClient, channel: grpc.aio.Channel, mesh: Mesh, token: dict[str, str]
) -> None:
    mesh.users.gate.clear()
    try:
        for call in (
            lambda: client.get("/v1/users/me", headers=token),
            lambda: UserServiceStub(channel).GetMe(GetMeRequest(), metadata=tuple(token.items())),
        ):
            mesh.users.arrived.clear()
            mesh.users.cancelled.clear()
            waiting = asyncio.ensure_future(call())
            async with asyncio.timeout(5):
                await mesh.users.arrived.wait()
                waiting.cancel()
                await mesh.users.cancelled.wait()
    finally:
        mesh.users.gate.set()


async def test_streams_that_clients_reset_all_end(channel: grpc.aio.Channel, mesh: Mesh, host: Host, token: dict[str, str]) -> None:
    stub = ExecutionServiceStub(channel)
    for _ in range(50):
        stream = stub.WatchExecution(WatchExecutionRequest(execution_id="e", after_seq=100), metadata=tuple(token.items()))
        await anext(aiter(stream))
        stream.cancel()
    labels = {"service": "treadle.execution.v1.ExecutionService", "method": "WatchExecution"}
    async with asyncio.timeout(10):
        while host.metrics.registry.get_sample_value("treadle_rpc_active", labels):  # noqa: ASYNC110 - a metric tells nobody
            await asyncio.sleep(0.05)
    answer = await UserServiceStub(channel).GetMe(GetMeRequest(), metadata=tuple(token.items()))
    assert answer.user.id == "u1"
