"""A stream ends with the token that opened it; a call that has begun does not."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.message import Message
from treadle.execution.v1.execution_service_pb2 import WatchExecutionResponse
from treadle.user.v1.user_service_pb2 import GetMeResponse

from mesh.chain.auth import Auth
from mesh.contract import Method
from mesh.dispatch import Dispatcher
from mesh.errors import DeadlineExceededError, UnauthenticatedError
from mesh.identity.access_token import AccessClaims
from mesh.identity.service_token import ServiceTokens
from tests.unit.mesh.chains import ALL_SCOPES, GET_ME, SERVICE_KEY, WATCH, Handlers, KnownUsers, given

TOKEN = {"authorization": "Bearer short"}


def dispatcher(method: Method, handler: Any, life_s: float) -> Dispatcher:
    """Serves one method to a user whose token lives so long from now on."""
    users = KnownUsers(short=AccessClaims("u1", "", ALL_SCOPES, time.time() + life_s))
    return Dispatcher({method.service: Handlers(**{method.handler: handler})}, [Auth(users, ServiceTokens(SERVICE_KEY))])


async def read(served: Dispatcher, timeout_s: float | None = None) -> int:
    """The messages of a stream, to its end."""
    call = served.new_call(WATCH, TOKEN, timeout_s)
    return len([message async for message in served.stream(call, given(WATCH.request_type()))])


async def silent(*_: Any) -> AsyncIterator[Message]:
    yield WatchExecutionResponse()
    await asyncio.Event().wait()


async def busy(*_: Any) -> AsyncIterator[Message]:
    while True:
        yield WatchExecutionResponse()
        await asyncio.sleep(0)


@pytest.mark.parametrize("handler", [silent, busy])
async def test_a_stream_ends_when_its_token_does(handler: Any) -> None:
    start = time.monotonic()
    with pytest.raises(UnauthenticatedError) as caught:
        await read(dispatcher(WATCH, handler, 0.3))
    assert caught.value.reason == "TOKEN_EXPIRED"
    assert 0.25 < time.monotonic() - start < 2


async def test_an_earlier_deadline_stays_a_deadline() -> None:
    with pytest.raises(DeadlineExceededError):
        await read(dispatcher(WATCH, silent, 60.0), timeout_s=0.05)


async def test_a_stream_that_ends_before_its_token_just_ends() -> None:
    async def short(*_: Any) -> AsyncIterator[Message]:
        yield WatchExecutionResponse()

    assert await read(dispatcher(WATCH, short, 60.0)) == 1
    assert await read(dispatcher(WATCH, short, float("inf"))) == 1


async def test_a_call_that_has_begun_is_finished() -> None:
    async def slow(*_: Any) -> Message:
        await asyncio.sleep(0.1)
        return GetMeResponse()

    served = dispatcher(GET_ME, slow, 0.05)
    await served.unary(served.new_call(GET_ME, TOKEN), given(GET_ME.request_type()))
