"""Who counts as the caller: users, administrators for users, and services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from google.protobuf.message import Message
from treadle.execution.v1.execution_service_pb2 import WatchExecutionResponse
from treadle.user.v1.user_service_pb2 import GetMeResponse

from mesh import errors
from mesh.call import Call, Caller
from mesh.chain.auth import ON_BEHALF_OF, Auth
from mesh.contract import methods
from mesh.dispatch import Dispatcher
from mesh.errors import TreadleError
from mesh.identity.service_token import HEADER, ServiceTokens
from tests.unit.mesh.chains import ALL_SCOPES, GET_JWKS, GET_ME, SERVICE_KEY, WATCH, Handlers, KnownUsers, claims, given, unary


async def ok(_: Message, __: Call) -> Message:
    return GetMeResponse()


async def test_an_administrator_acts_for_a_user_only_where_that_is_recorded() -> None:
    user_id = "0198c0de-0000-7000-8000-000000000002"
    users = KnownUsers(good=claims(*ALL_SCOPES), admin=claims(*ALL_SCOPES, "admin:impersonate", user_id="boss"))
    callers: list[Caller] = []

    async def handler(_: Message, call: Call) -> Message:
        callers.append(call.caller)
        return GetMeResponse()

    async def ask(token: str, for_whom: str, *, is_recorded: bool = True) -> None:
        auth = Auth(users, ServiceTokens(SERVICE_KEY), is_recorded=is_recorded)
        await unary(GET_ME, handler, {"authorization": f"Bearer {token}", ON_BEHALF_OF: for_whom}, [auth])

    await ask("admin", user_id)
    assert (callers[0].user_id, callers[0].actor_id, callers[0].email) == (user_id, "boss", "")
    for token, for_whom, is_recorded, reason in (
        ("good", user_id, True, "SCOPE_MISSING"),
        ("admin", user_id, False, "NOT_RECORDED"),
        ("admin", "not-a-uuid", True, "USER_ID_INVALID"),
    ):
        with pytest.raises(TreadleError) as caught:
            await ask(token, for_whom, is_recorded=is_recorded)
        assert caught.value.reason == reason
    assert len(callers) == 1


@pytest.mark.parametrize("workload", ["auth", "worker", "a-service-that-is-not-written-yet"])
async def test_what_is_open_to_every_service_is_not_open_to_the_edge_by_that(workload: str) -> None:
    inner = replace(GET_JWKS, callers=frozenset({"*"}))
    await unary(inner, ok, {HEADER: ServiceTokens(SERVICE_KEY).token(workload)}, [Auth(KnownUsers(), ServiceTokens(SERVICE_KEY))])
    with pytest.raises(errors.PermissionDeniedError):
        await unary(inner, ok, {}, [Auth(KnownUsers(), ServiceTokens(SERVICE_KEY))])


async def test_nobody_makes_keys_or_links_for_others() -> None:
    create = methods()["/treadle.auth.v1.ApiKeyService/CreateApiKey"]
    users = KnownUsers(admin=claims(*ALL_SCOPES, "admin:impersonate", user_id="boss"))
    auth = Auth(users, ServiceTokens(SERVICE_KEY), is_recorded=True)
    metadata = {"authorization": "Bearer admin", ON_BEHALF_OF: "0198c0de-0000-7000-8000-000000000002"}
    with pytest.raises(errors.PermissionDeniedError) as caught:
        await unary(create, ok, metadata, [auth])
    assert caught.value.reason == "PERSONAL"


async def test_streams_end_with_the_sign_in_that_opened_them() -> None:
    users = KnownUsers(
        **{name: replace(claims(*ALL_SCOPES, user_id=name), session_id=session) for name, session in (("ann", "s1"), ("bob", "s2"))}
    )
    went_on = asyncio.Event()

    async def handler(_: Message, __: Call) -> AsyncIterator[Message]:
        yield WatchExecutionResponse()
        await went_on.wait()
        yield WatchExecutionResponse()

    dispatcher = Dispatcher({WATCH.service: Handlers(**{WATCH.handler: handler})}, [Auth(users, ServiceTokens(SERVICE_KEY))])

    async def watch(token: str) -> list[Message]:
        call = dispatcher.new_call(WATCH, {"authorization": f"Bearer {token}"})
        async with aclosing(dispatcher.stream(call, given(WATCH.request_type()))) as messages:
            seen = []
            async for message in messages:
                seen.append(message)
                started[token].set()
            return seen

    started = {"ann": asyncio.Event(), "bob": asyncio.Event()}
    tasks = {name: asyncio.create_task(watch(name)) for name in started}
    await asyncio.gather(*(event.wait() for event in started.values()))
    await asyncio.sleep(0)
    dispatcher.end_streams_of("s1")
    with pytest.raises(errors.UnauthenticatedError) as caught:
        await tasks["ann"]
    assert caught.value.reason == "TOKEN_REVOKED"
    went_on.set()
    assert len(await tasks["bob"]) == 2
