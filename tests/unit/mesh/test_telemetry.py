"""Metrics count every call by its final code; spans exist for sampled calls only and know what went wrong."""

import asyncio
from typing import Any

import asyncpg
import pytest
from google.protobuf.message import Message
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from treadle.user.v1.user_service_pb2 import GetMeResponse

from mesh import errors
from mesh.chain.telemetry import Telemetry
from mesh.metrics import Metrics
from mesh.telemetry import outgoing_traceparent
from tests.unit.mesh.chains import GET_ME, chain, unary

GOOD = {"authorization": "Bearer good"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


async def ok(*_: Any) -> Message:
    return GetMeResponse()


async def test_calls_are_counted_by_code_refusals_included() -> None:
    metrics = Metrics()
    elements = chain(metrics)
    await unary(GET_ME, ok, GOOD, elements)
    with pytest.raises(errors.UnauthenticatedError):
        await unary(GET_ME, ok, {}, elements)
    labels = {"service": GET_ME.service, "method": "GetMe"}
    value = metrics.registry.get_sample_value
    assert value("treadle_rpc_handled_total", {**labels, "code": "OK"}) == 1
    assert value("treadle_rpc_handled_total", {**labels, "code": "UNAUTHENTICATED"}) == 1
    assert value("treadle_rpc_duration_seconds_count", labels) == 2
    assert value("treadle_rpc_active", labels) == 0
    assert b"treadle_rpc_handled_total" in metrics.text()


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("x"),
        ConnectionRefusedError("x"),
        asyncpg.CannotConnectNowError("x"),
        asyncpg.TooManyConnectionsError("x"),
        errors.NotFoundError("x"),
        asyncio.CancelledError(),
    ],
)
async def test_the_counted_code_is_the_one_that_the_caller_sees(raised: BaseException) -> None:
    async def handler(*_: Any) -> Message:
        raise raised

    metrics = Metrics()
    with pytest.raises(errors.TreadleError) as caught:
        await unary(GET_ME, handler, GOOD, chain(metrics))
    labels = {"service": GET_ME.service, "method": "GetMe", "code": caught.value.code.name}
    assert metrics.registry.get_sample_value("treadle_rpc_handled_total", labels) == 1


async def _spans(handler: Any, metadata: dict[str, str]) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    elements = chain(exporter=exporter)
    try:
        await unary(GET_ME, handler, metadata, elements)
    except errors.TreadleError:
        pass
    finally:
        telemetry = next(element for element in elements if isinstance(element, Telemetry))
        telemetry.tracing.shutdown()
    return list(exporter.get_finished_spans())


async def test_a_sampled_caller_gets_a_child_span() -> None:
    (span,) = await _spans(ok, {**GOOD, "traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert span.name == GET_ME.full_name[1:]
    assert span.status.status_code is StatusCode.UNSET


async def test_a_caller_that_is_not_sampled_gets_none_but_its_trace_goes_on() -> None:
    header = f"00-{TRACE}-{SPAN}-00"
    passed: list[str] = []

    async def handler(*_: Any) -> Message:
        passed.append(outgoing_traceparent())
        return GetMeResponse()

    assert await _spans(handler, {**GOOD, "traceparent": header}) == []
    assert passed == [header]


async def test_calls_made_inside_a_span_name_it() -> None:
    passed: list[str] = []

    async def handler(*_: Any) -> Message:
        passed.append(outgoing_traceparent())
        return GetMeResponse()

    (span,) = await _spans(handler, GOOD)
    assert span.context is not None
    assert passed[0].startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert int(passed[0][-2:], 16) & 1


async def test_our_faults_are_errors_of_the_trace_and_refusals_are_not() -> None:
    async def handler(*_: Any) -> Message:
        raise ValueError

    (fault,) = await _spans(handler, GOOD)
    (refusal,) = await _spans(handler, {})
    assert fault.status.status_code is StatusCode.ERROR
    assert refusal.status.status_code is StatusCode.UNSET
    assert fault.attributes is not None
    assert fault.attributes["rpc.grpc.status_code"] == errors.Code.INTERNAL
