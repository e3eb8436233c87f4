"""Calls to a service of the same process: no socket, but the same chain, and what it refuses stays refused."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from treadle.auth.v1.auth_service_pb2 import GetJwksRequest, GetJwksResponse, Jwk
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from mesh.call import FORWARDED_FOR, Call, current_call
from mesh.clients import Clients
from mesh.dispatch import Dispatcher
from mesh.errors import DeadlineExceededError, NotFoundError, UnauthenticatedError, UnavailableError
from mesh.identity.service_token import ServiceTokens
from mesh.settings import Settings
from tests.unit.mesh.chains import AUTH_SERVICE, GET_ME, SERVICE_KEY, Handlers, chain

# Nothing listens here: whatever goes through a socket fails.
NOWHERE = "127.0.0.1:1"


class Auth:
    """The auth service of this process."""

    def __init__(self) -> None:
        self.workloads: list[str] = []
        self.addresses: list[str] = []
        self.error: Exception | None = None

    async def get_jwks(self, _: GetJwksRequest, call: Call) -> GetJwksResponse:
        self.workloads.append(call.caller.workload)
        self.addresses.append(call.source_address)
        if self.error is not None:
            raise self.error
        return GetJwksResponse(keys=[Jwk(kid="k")])


class Process:
    """A process that serves auth, and its clients."""

    def __init__(self, service_targets: str = "", key: bytes = SERVICE_KEY) -> None:
        """`key` signs what its clients say they are."""
        self.auth = Auth()
        settings = Settings(default_target=NOWHERE, service_targets=service_targets)
        self.clients = Clients(settings, "gateway", ServiceTokens(key))
        self.clients.serve_here(Dispatcher({AUTH_SERVICE: Handlers(get_jwks=self.auth.get_jwks)}, chain()))

    async def keys(self, timeout_s: float = 1.0) -> GetJwksResponse:
        """A call."""
        stub = AuthServiceStub(self.clients.channel("auth"))
        answer: GetJwksResponse = await stub.GetJwks(GetJwksRequest(), timeout=timeout_s)
        return answer


@pytest_asyncio.fixture
async def process() -> AsyncIterator[Process]:
    """A process."""
    process = Process()
    yield process
    await process.clients.close()


async def test_the_handler_is_called_without_a_socket_and_knows_the_caller(process: Process) -> None:
    assert (await process.keys()).keys[0].kid == "k"
    assert process.auth.workloads == ["gateway"]


async def test_the_chain_refuses_as_it_does_at_the_door(process: Process) -> None:
    with pytest.raises(UnauthenticatedError):
        await Process(key=b"another key of thirty-two bytes.").keys()
    with pytest.raises(DeadlineExceededError):
        await process.keys(timeout_s=0.0)
    assert process.auth.workloads == []


async def test_errors_come_as_they_are_and_faults_masked(process: Process) -> None:
    process.auth.error = NotFoundError("No.", reason="KEYS_NOT_FOUND")
    with pytest.raises(NotFoundError, match="No"):
        await process.keys()
    process.auth.error = ValueError("a secret")
    with pytest.raises(Exception, match="error id") as caught:
        await process.keys()
    assert "secret" not in str(caught.value)


async def test_a_service_that_is_placed_elsewhere_is_called_there() -> None:
    process = Process(f"auth={NOWHERE}")
    with pytest.raises(UnavailableError):
        await process.keys()
    assert process.auth.workloads == []
    await process.clients.close()


async def test_a_call_for_somebody_says_from_where_they_called(process: Process) -> None:
    outer = Call(GET_ME, {FORWARDED_FOR: "6.6.6.6, 10.0.0.9"}, time.monotonic() + 5, request_id="r")
    token = current_call.set(outer)
    await process.keys()
    current_call.reset(token)
    await process.keys()
    assert process.auth.addresses == ["10.0.0.9", ""]
