"""The chain: its order, and what each element guarantees, whichever door the call came by."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import asyncpg
import pytest
from google.protobuf.message import Message
from treadle.execution.v1.execution_service_pb2 import CreateExecutionRequest, WatchExecutionResponse
from treadle.user.v1.user_service_pb2 import GetMeResponse

from mesh import errors
from mesh.call import Call, current_call
from mesh.chain.errors import MASKED
from mesh.chain.order import ORDER
from mesh.contract import ContractError, methods
from mesh.dispatch import Dispatcher
from mesh.errors import TreadleError
from mesh.identity.service_token import HEADER, ServiceTokens
from mesh.metrics import Metrics
from tests.unit.mesh.chains import CREATE, EXECUTION_SERVICE, GET_ME, LOGIN, SERVICE_KEY, WATCH, Handlers, chain, given, unary
from tests.unit.mesh.partial import forever

GOOD = {"authorization": "Bearer good"}
SECRET = "postgresql://treadle:hunter2@db.internal/treadle"


async def ok(_: Message, __: Call) -> Message:
    return GetMeResponse()


def test_the_order_is_the_documented_one() -> None:
    assert tuple(element.name for element in chain()) == ORDER
    outer = ("request_id", "errors", "telemetry", "access_log", "audit", "deadline")
    assert (*outer, "auth", "witness", "admission", "validate", "idempotency") == ORDER


def test_every_method_has_its_policy() -> None:
    assert methods()
    for method in methods().values():
        assert method.is_public != bool(method.scopes), method.full_name
        assert method.callers, method.full_name
        assert method.timeout_s > 0, method.full_name
        assert method.rate_class not in {"", "unspecified"}, method.full_name
        assert method.idempotency in {"IDEMPOTENCY_UNKNOWN", "NO_SIDE_EFFECTS", "IDEMPOTENT"}, method.full_name


async def test_a_handler_sees_its_caller_and_the_current_call() -> None:
    seen: list[Call | None] = []

    async def handler(_: Message, call: Call) -> Message:
        seen.extend([call, current_call.get()])
        return GetMeResponse()

    await unary(GET_ME, handler, {"authorization": "bearer good", "x-request-id": "abc-1"})
    call = seen[0]
    assert call is not None
    assert seen[1] is call
    assert (call.caller.user_id, call.caller.workload, call.caller.bearer, call.request_id) == ("u1", "edge", "good", "abc-1")
    assert current_call.get() is None


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, 'a"b'])
async def test_a_request_id_that_would_not_be_safe_in_logs_is_replaced(given: str) -> None:
    ids: list[str] = []

    async def handler(_: Message, call: Call) -> Message:
        ids.append(call.request_id)
        return GetMeResponse()

    await unary(GET_ME, handler, {**GOOD, "x-request-id": given})
    assert re.fullmatch(r"[0-9a-f]{32}", ids[0])


class TestErrors:
    """Nothing but typed errors comes out, and no secret with them."""

    async def test_an_unexpected_exception_is_masked(self, capsys: pytest.CaptureFixture[str]) -> None:
        async def handler(*_: Any) -> Message:
            raise ValueError(SECRET)

        with pytest.raises(errors.InternalError) as caught:
            await unary(GET_ME, handler, GOOD)
        assert caught.value.message == MASKED
        assert re.fullmatch(r"[0-9a-f]{32}", caught.value.metadata["error_id"])
        assert "hunter2" not in repr(caught.value.__dict__)

    async def test_a_typed_error_passes_unchanged(self) -> None:
        error = errors.NotFoundError("No such thing.", reason="THING_NOT_FOUND")

        async def handler(*_: Any) -> Message:
            raise error

        with pytest.raises(errors.NotFoundError) as caught:
            await unary(GET_ME, handler, GOOD)
        assert caught.value is error

    @pytest.mark.parametrize(
        "fault", [asyncpg.CannotConnectNowError("starting"), ConnectionRefusedError(SECRET), asyncpg.InterfaceError("x")]
    )
    async def test_a_dependency_that_is_away_is_unavailable(self, fault: Exception) -> None:
        async def handler(*_: Any) -> Message:
            raise fault

        with pytest.raises(errors.UnavailableError) as caught:
            await unary(GET_ME, handler, GOOD)
        assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
        assert "hunter2" not in caught.value.message

    async def test_a_cancellation_that_nobody_asked_for_is_answered(self) -> None:
        async def handler(*_: Any) -> Message:
            raise asyncio.CancelledError

        with pytest.raises(errors.InternalError):
            await unary(GET_ME, handler, GOOD)

    async def test_a_cancelled_caller_gets_its_own_cancellation(self) -> None:
        task = asyncio.create_task(unary(GET_ME, forever, GOOD))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestAuth:
    """Refusals, each with its own reason."""

    @pytest.mark.parametrize(
        ("metadata", "kind", "reason"),
        [
            ({}, errors.UnauthenticatedError, "TOKEN_MISSING"),
            ({"authorization": "Bearer forged"}, errors.UnauthenticatedError, "TOKEN_INVALID"),
            ({"authorization": "Basic dTpw"}, errors.UnauthenticatedError, "TOKEN_INVALID"),
            ({"authorization": "Bearer poor"}, errors.PermissionDeniedError, "SCOPE_MISSING"),
            ({HEADER: "forged"}, errors.UnauthenticatedError, "SERVICE_TOKEN_INVALID"),
            ({HEADER: ServiceTokens(b"x" * 32).token("gateway")}, errors.UnauthenticatedError, "SERVICE_TOKEN_INVALID"),
        ],
    )
    async def test_refused(self, metadata: dict[str, str], kind: type[TreadleError], reason: str) -> None:
        with pytest.raises(kind) as caught:
            await unary(CREATE, ok, metadata)
        assert caught.value.reason == reason

    async def test_a_workload_that_is_not_listed_is_refused(self) -> None:
        assert "block" not in CREATE.callers
        with pytest.raises(errors.PermissionDeniedError) as caught:
            await unary(CREATE, ok, {HEADER: ServiceTokens(SERVICE_KEY).token("block"), **GOOD})
        assert caught.value.reason == "CALLER_NOT_ALLOWED"

    async def test_a_public_method_needs_no_token_and_minds_no_bad_one(self) -> None:
        await unary(LOGIN, ok)
        await unary(LOGIN, ok, {"authorization": "Bearer forged"})

    async def test_a_workload_that_is_listed_may_call_for_itself(self) -> None:
        callers: list[str] = []

        async def handler(_: Message, call: Call) -> Message:
            callers.append(f"{call.caller.workload}/{call.caller.user_id}")
            return GetMeResponse()

        await unary(CREATE, handler, {HEADER: ServiceTokens(SERVICE_KEY).token("gateway")})
        await unary(CREATE, handler, {HEADER: ServiceTokens(SERVICE_KEY).token("gateway"), **GOOD})
        assert callers == ["gateway/", "gateway/u1"]

    async def test_the_edge_may_not_call_what_is_for_services(self) -> None:
        internal = [method for method in methods().values() if "edge" not in method.callers]
        for method in internal:
            with pytest.raises(errors.PermissionDeniedError):
                await unary(method, ok, GOOD)


class TestDeadline:
    """No call without an end."""

    async def test_a_handler_is_cancelled_at_the_deadline(self) -> None:
        dispatcher = Dispatcher({GET_ME.service: Handlers(get_me=forever)}, chain())
        start = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError):
            await dispatcher.unary(dispatcher.new_call(GET_ME, GOOD, 0.05), given(GET_ME.request_type()))
        assert time.monotonic() - start < 2

    async def test_an_expired_call_is_refused_before_its_token_is_looked_at(self) -> None:
        dispatcher = Dispatcher({GET_ME.service: Handlers(get_me=ok)}, chain())
        with pytest.raises(errors.DeadlineExceededError):
            await dispatcher.unary(dispatcher.new_call(GET_ME, {}, -1), given(GET_ME.request_type()))

    def test_a_caller_may_wait_less_than_the_contract_says_but_not_more(self) -> None:
        dispatcher = Dispatcher({}, chain())
        for asked, expected in ((None, GET_ME.timeout_s), (1.0, 1.0), (1e9, GET_ME.timeout_s)):
            assert dispatcher.new_call(GET_ME, {}, asked).remaining_s == pytest.approx(expected, abs=0.5)

    async def test_a_timeout_inside_of_the_handler_is_no_deadline(self) -> None:
        async def handler(*_: Any) -> Message:
            raise TimeoutError

        with pytest.raises(errors.InternalError):
            await unary(GET_ME, handler, GOOD)


class TestAdmission:
    """Too much is refused at once."""

    async def test_calls_beyond_the_limit_are_told_when_to_come_back(self) -> None:
        elements = chain(max_concurrent_calls=1)
        task = asyncio.create_task(unary(GET_ME, forever, GOOD, elements))
        await asyncio.sleep(0)
        with pytest.raises(errors.ResourceExhaustedError) as caught:
            await unary(GET_ME, ok, GOOD, elements)
        assert caught.value.retry_after_s
        task.cancel()
        await asyncio.wait([task])
        await unary(GET_ME, ok, GOOD, elements)


class TestIdempotency:
    """`request_id` is a UUID."""

    @pytest.mark.parametrize(
        ("value", "is_good"), [("", True), ("01932c07-2b1c-7000-8000-000000000001", True), ("1", False), ("x" * 36, False)]
    )
    async def test_form(self, value: str, is_good: bool) -> None:
        dispatcher = Dispatcher({CREATE.service: Handlers(create_execution=ok)}, chain())
        call = dispatcher.new_call(CREATE, GOOD)
        request = CreateExecutionRequest(graph_id="g", request_id=value)
        if is_good:
            await dispatcher.unary(call, given(request))
        else:
            with pytest.raises(errors.InvalidArgumentError) as caught:
                await dispatcher.unary(call, given(request))
            assert caught.value.violations[0].field == "request_id"


class TestStreams:
    """A stream runs the same chain and always ends."""

    def _dispatcher(self, handler: Any) -> Dispatcher:
        return Dispatcher({EXECUTION_SERVICE: Handlers(watch_execution=handler)}, chain())

    async def test_messages_pass_and_the_end_is_counted(self) -> None:
        async def handler(*_: Any) -> AsyncIterator[Message]:
            for _number in range(3):
                yield WatchExecutionResponse()

        dispatcher = self._dispatcher(handler)
        call = dispatcher.new_call(WATCH, GOOD)
        assert len([message async for message in dispatcher.stream(call, given(WATCH.request_type()))]) == 3
        admission: Any = next(element for element in dispatcher.chain if element.name == "admission")
        assert admission.streams == 0

    async def test_a_failure_in_the_middle_is_masked(self) -> None:
        async def handler(*_: Any) -> AsyncIterator[Message]:
            yield WatchExecutionResponse()
            raise ValueError(SECRET)

        dispatcher = self._dispatcher(handler)
        stream = dispatcher.stream(dispatcher.new_call(WATCH, GOOD), given(WATCH.request_type()))
        await anext(stream)
        with pytest.raises(errors.InternalError) as caught:
            await anext(stream)
        assert caught.value.message == MASKED

    async def test_the_handler_ends_when_its_reader_goes(self) -> None:
        ended = asyncio.Event()

        async def handler(*_: Any) -> AsyncIterator[Message]:
            try:
                while True:
                    yield WatchExecutionResponse()
            finally:
                ended.set()

        dispatcher = self._dispatcher(handler)
        async with aclosing(dispatcher.stream(dispatcher.new_call(WATCH, GOOD), given(WATCH.request_type()))) as stream:
            await anext(stream)
        assert ended.is_set()

    async def test_the_deadline_bounds_its_age(self) -> None:
        async def handler(*_: Any) -> AsyncIterator[Message]:
            yield WatchExecutionResponse()
            await asyncio.Event().wait()

        dispatcher = self._dispatcher(handler)
        with pytest.raises(errors.DeadlineExceededError):
            async for _message in dispatcher.stream(dispatcher.new_call(WATCH, GOOD, 0.05), given(WATCH.request_type())):
                pass

    async def test_a_process_that_stops_sends_readers_elsewhere(self) -> None:
        async def handler(*_: Any) -> AsyncIterator[Message]:
            yield WatchExecutionResponse()
            await asyncio.Event().wait()

        dispatcher = self._dispatcher(handler)
        stream = dispatcher.stream(dispatcher.new_call(WATCH, GOOD), given(WATCH.request_type()))
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        dispatcher.end_streams()
        with pytest.raises(errors.UnavailableError) as caught:
            await waiting
        assert caught.value.reason == "STOPPING"


def test_a_servicer_without_all_its_handlers_does_not_start() -> None:
    class Half:
        async def get_me(self, *_: Any) -> Message:
            return GetMeResponse()

    with pytest.raises(ContractError, match=r"without a handler: treadle\.user\.v1\.UserService/UpdateMe$"):
        Dispatcher({GET_ME.service: Half()}, chain())


def test_a_servicer_of_no_contract_does_not_start() -> None:
    with pytest.raises(ContractError, match=r"without a contract: treadle\.user\.v1\.UsersService"):
        Dispatcher({"treadle.user.v1.UsersService": Handlers()}, chain())


async def test_nobody_looks_at_the_message_of_a_stranger() -> None:
    async def read() -> Message:
        raise AssertionError

    dispatcher = Dispatcher({GET_ME.service: Handlers()}, chain())
    with pytest.raises(errors.UnauthenticatedError):
        await dispatcher.unary(dispatcher.new_call(GET_ME, {}), read)
    with pytest.raises(errors.PermissionDeniedError):
        await dispatcher.unary(dispatcher.new_call(GET_ME, {"authorization": "Bearer poor"}), read)


async def test_a_message_that_cannot_be_read_is_counted_and_has_an_id() -> None:
    async def read() -> Message:
        raise errors.InvalidArgumentError("no")

    metrics = Metrics()
    dispatcher = Dispatcher({GET_ME.service: Handlers()}, chain(metrics))
    call = dispatcher.new_call(GET_ME, GOOD)
    with pytest.raises(errors.InvalidArgumentError):
        await dispatcher.unary(call, read)
    assert call.request_id
    labels = {"service": GET_ME.service, "method": "GetMe", "code": "INVALID_ARGUMENT"}
    assert metrics.registry.get_sample_value("treadle_rpc_handled_total", labels) == 1
