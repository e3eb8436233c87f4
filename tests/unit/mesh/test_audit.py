"""What the chain remembers of calls."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from google.protobuf.message import Message
from treadle.auth.v1.session_service_pb2 import SetRolesRequest, SetRolesResponse
from treadle.execution.v1.execution_service_pb2 import CreateExecutionRequest, CreateExecutionResponse, Execution
from treadle.user.v1.user_service_pb2 import GetMeResponse

from mesh import errors
from mesh.audit import BEGUN, LOST, AuditRecord, Records, recording
from mesh.bus import Bus
from mesh.call import Call, note_about
from mesh.chain.auth import ON_BEHALF_OF
from mesh.contract import Method, methods
from mesh.dispatch import Dispatcher
from mesh.ids import uuid7
from mesh.metrics import Metrics
from mesh.streams import STREAMS
from tests.unit.mesh.chains import CREATE, GET_ME, LOGIN, Handlers, KeptRecords, chain, given

GOOD = {"authorization": "Bearer good", "x-request-id": "r-1", "x-forwarded-for": "6.6.6.6, 10.0.0.9"}
SET_ROLES = methods()["/treadle.auth.v1.SessionService/SetRoles"]


async def run(method: Method, handler: Any, request: Message, metadata: dict[str, str], records: KeptRecords) -> None:
    dispatcher = Dispatcher({method.service: Handlers(**{method.handler: handler})}, chain(records=records))
    await dispatcher.unary(dispatcher.new_call(method, metadata), given(request))


async def made(_: Message, __: Call) -> Message:
    return CreateExecutionResponse(execution=Execution(id="e-1"))


async def read(_: Message, __: Call) -> Message:
    return GetMeResponse()


async def test_a_change_is_recorded_with_who_what_where_and_how_it_ended() -> None:
    records = KeptRecords()
    await run(CREATE, made, CreateExecutionRequest(graph_id="g-1"), GOOD, records)
    [record] = records.added
    assert (record.actor_id, record.user_id, record.workload) == ("u1", "u1", "edge")
    assert (record.service, record.method) == ("treadle.execution.v1.ExecutionService", "CreateExecution")
    assert (record.code, record.reason) == ("OK", "")
    assert record.resources == {"graph_id": "g-1", "execution_id": "e-1"}
    assert (record.source_address, record.request_id) == ("10.0.0.9", "r-1")
    assert not records.written


async def test_an_id_in_the_answer_is_recorded() -> None:
    async def handler(_: Message, __: Call) -> Message:
        return SetRolesResponse(user_id="u2")

    records = KeptRecords()
    await run(SET_ROLES, handler, SetRolesRequest(email="a@example.com"), GOOD, records)
    assert records.added[0].resources == {"user_id": "u2"}
    assert b"example.com" not in records.added[0].line()


async def test_a_handler_says_whom_it_was_about_where_no_message_may() -> None:
    async def handler(_: Message, __: Call) -> Message:
        note_about(user_id="u2")
        note_about(session_id="s1")
        raise errors.UnauthenticatedError("No.", reason="INVALID_CREDENTIALS")

    kept = KeptRecords()
    with pytest.raises(errors.UnauthenticatedError):
        await run(LOGIN, handler, LOGIN.request_type(), {}, kept)
    assert kept.added[0].resources == {"user_id": "u2", "session_id": "s1"}


async def test_reads_are_not_recorded() -> None:
    records = KeptRecords()
    await run(GET_ME, read, GET_ME.request_type(), GOOD, records)
    assert not records.added


async def test_a_change_that_failed_is_recorded_with_its_reason() -> None:
    async def handler(_: Message, __: Call) -> Message:
        raise errors.NotFoundError("No.", reason="GRAPH_NOT_FOUND")

    records = KeptRecords()
    with pytest.raises(errors.NotFoundError):
        await run(CREATE, handler, CreateExecutionRequest(graph_id="g-1"), GOOD, records)
    assert (records.added[0].code, records.added[0].reason) == ("NOT_FOUND", "GRAPH_NOT_FOUND")


async def test_a_refusal_is_recorded_with_who_was_refused_also_of_a_read() -> None:
    records = KeptRecords()
    with pytest.raises(errors.PermissionDeniedError):
        await run(GET_ME, read, GET_ME.request_type(), {"authorization": "Bearer poor"}, records)
    assert [(record.actor_id, record.code, record.reason) for record in records.added] == [("u1", "PERMISSION_DENIED", "SCOPE_MISSING")]


async def test_strangers_cannot_fill_the_log_but_failed_sign_ins_are_in_it() -> None:
    async def handler(_: Message, __: Call) -> Message:
        raise errors.UnauthenticatedError("No.", reason="INVALID_CREDENTIALS")

    records = KeptRecords()
    with pytest.raises(errors.UnauthenticatedError):
        await run(CREATE, made, CreateExecutionRequest(), {}, records)
    assert not records.added
    with pytest.raises(errors.UnauthenticatedError):
        await run(LOGIN, handler, LOGIN.request_type(), {}, records)
    assert [record.reason for record in records.added] == ["INVALID_CREDENTIALS"]


class TestActingForSomebody:
    """It is written down before it happens, and how it ended after."""

    async def test_the_record_is_there_before_the_handler_runs(self) -> None:
        records, other, seen = KeptRecords(), uuid7(), list[AuditRecord]()

        async def handler(_: Message, __: Call) -> Message:
            seen.extend(records.written)
            return GetMeResponse()

        await run(GET_ME, handler, GET_ME.request_type(), {**GOOD, ON_BEHALF_OF: other}, records)
        assert [(record.code, record.actor_id, record.user_id) for record in seen] == [(BEGUN, "u1", other)]
        assert [(record.code, record.actor_id, record.user_id) for record in records.added] == [("OK", "u1", other)]

    async def test_what_cannot_be_recorded_does_not_happen(self) -> None:
        records, happened = KeptRecords(), list[int]()
        records.is_away = True

        async def handler(_: Message, __: Call) -> Message:
            happened.append(1)
            return GetMeResponse()

        with pytest.raises(errors.UnavailableError) as caught:
            await run(GET_ME, handler, GET_ME.request_type(), {**GOOD, ON_BEHALF_OF: uuid7()}, records)
        assert caught.value.reason == "AUDIT_UNAVAILABLE"
        assert not happened


class TestRecords:
    """What a process keeps while it cannot tell anybody."""

    async def test_what_finds_no_room_is_counted_and_hurts_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mesh.audit.MAX_WAITING", 2)
        metrics = Metrics()
        records = Records(_no_bus, metrics)
        for _ in range(5):
            records.add(_record())
        assert b"treadle_audit_lost_total 3.0" in metrics.text()

    async def test_the_log_says_how_many_found_no_room_once_there_is_a_bus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mesh.audit.MAX_WAITING", 2)
        bus = _FakeBus()
        async with recording(bus.connect, Metrics()) as records:
            for _ in range(5):
                records.add(_record())
            bus.is_up.set()
            await bus.until(3)
        assert [(sent["method"], sent["resources"]) for sent in bus.sent] == [("m", {}), ("m", {}), (LOST, {"count": "3"})]

    async def test_what_comes_while_others_are_sent_gathers_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mesh.audit.GATHER_S", 0.05)
        bus, count = _FakeBus(), 5
        bus.is_up.set()
        async with recording(bus.connect, Metrics()) as records:
            bus.on_publish = lambda: records.add(_record()) if len(bus.sent) < count else None
            start = time.monotonic()
            records.add(_record())
            await bus.until(count)
        assert time.monotonic() - start >= count * 0.05

    async def test_no_fault_whatever_ends_the_sending(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mesh.audit._RETRY_S", 0.01)
        bus = _FakeBus(faults=[RuntimeError(), ValueError()])
        bus.is_up.set()
        async with recording(bus.connect, Metrics()) as records:
            records.add(_record())
            await bus.until(1)
        assert len(bus.sent) == 1

    async def test_what_a_process_still_has_when_it_ends_stands_in_its_own_log(self, capsys: pytest.CaptureFixture[str]) -> None:
        metrics, record = Metrics(), _record()
        async with recording(_no_bus, metrics) as records:
            records.add(record)
        assert "audit_record_lost" in (said := capsys.readouterr().out)
        assert record.id in said
        assert b"treadle_audit_lost_total 1.0" in metrics.text()

    async def test_what_must_be_recorded_first_is_refused_while_there_is_no_bus(self) -> None:
        with pytest.raises(errors.UnavailableError):
            await Records(_no_bus, Metrics()).write(_record())

    async def test_a_process_ends_also_without_a_bus(self) -> None:
        async with asyncio.timeout(5):
            async with recording(_no_bus, Metrics()) as records:
                records.add(_record())


class _FakeBus:
    """A bus that comes up when it is told to, and whose first publications fail."""

    def __init__(self, faults: Sequence[Exception] = ()) -> None:
        self.is_up = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self.on_publish: Callable[[], None] = lambda: None
        self._faults = list(faults)

    async def connect(self) -> Bus:
        await self.is_up.wait()
        return cast(
            Bus, SimpleNamespace(js=SimpleNamespace(publish=self.publish, stream_info=self.stream_info, update_stream=self.publish))
        )

    async def stream_info(self, name: str) -> Any:
        [config] = [config for config in STREAMS if config.name == name]
        return SimpleNamespace(config=config)

    async def publish(self, _: str, body: bytes, **__: Any) -> None:
        if self._faults:
            raise self._faults.pop()
        self.sent += map(orjson.loads, body.splitlines())
        self.on_publish()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.sent) < count:  # noqa: ASYNC110 - as from another process
                await asyncio.sleep(0.01)


async def _no_bus() -> Bus:
    await asyncio.Event().wait()
    raise AssertionError


def _record() -> AuditRecord:
    return AuditRecord("a", "u", "", "edge", "s", "m", {}, "OK", "", "", "r")


def test_a_record_is_one_line_of_json_with_all_that_is_known() -> None:
    record = AuditRecord("a", "u", "", "edge", "s", "m", {"x_id": "1\n"}, "OK", "", "", "r")
    assert b"\n" not in record.line()
    assert orjson.loads(record.line()) == asdict(record)
