"""What services count and trace of their own goes where the mesh's own figures go."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan

from mesh.call import Call, current_call
from mesh.clients import Clients
from mesh.identity.service_token import ServiceTokens
from mesh.metrics import Metrics
from mesh.resources import Resources
from mesh.settings import Settings
from mesh.telemetry import Tracing, make_tracing, outgoing_traceparent, remote_context
from tests.unit.mesh.chains import GET_ME, SERVICE_KEY

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def tracing(exporter: InMemorySpanExporter, ratio: float) -> Tracing:
    return make_tracing(Settings(trace_sample_ratio=ratio), "test", exporter)


def names(exporter: InMemorySpanExporter, traced: Tracing) -> list[str]:
    """What was recorded."""
    traced.shutdown()
    return [span.name for span in exporter.get_finished_spans()]


def test_series_of_services_are_shown_with_those_of_the_mesh() -> None:
    metrics = Metrics()
    metrics.counter("treadle_test_steps_total", "Steps.", ["effect"]).labels("pure").inc(3)
    metrics.gauge("treadle_test_depth", "Depth.").set_function(lambda: 7)
    metrics.histogram("treadle_test_commit_seconds", "Commits.").observe(0.003)
    shown = metrics.text().decode()
    assert 'treadle_test_steps_total{effect="pure"} 3.0' in shown
    assert "treadle_test_depth 7.0" in shown
    assert 'treadle_test_commit_seconds_bucket{le="0.005"} 1.0' in shown


def test_one_name_is_one_series() -> None:
    metrics = Metrics()
    first = metrics.counter("treadle_test_steps_total", "Steps.", ["effect"])
    assert metrics.counter("treadle_test_steps_total", "Steps.", ["effect"]) is first
    with pytest.raises(ValueError, match="another kind"):
        metrics.counter("treadle_test_steps_total", "Steps.", ["other"])
    with pytest.raises(ValueError, match="another kind"):
        metrics.gauge("treadle_test_steps_total", "Steps.", ["effect"])
    with pytest.raises(ValueError, match="start with"):
        metrics.counter("steps_total", "Steps.")


async def test_all_services_of_a_process_share_them() -> None:
    settings = Settings()
    metrics = Metrics()
    resources = Resources(settings, "one", Clients(settings, "one", ServiceTokens(SERVICE_KEY)), metrics)
    other = resources.for_workload("other")
    assert other.metrics is metrics
    assert (other.workload, other.clients.workload, resources.workload) == ("other", "other", "one")
    # Without a collector spans cost next to nothing and say so.
    with other.tracer.start_as_current_span("x") as span:
        assert not span.is_recording()


def test_outside_of_calls_chance_decides() -> None:
    for ratio, recorded in ((1.0, ["sweep"]), (0.0, [])):
        exporter = InMemorySpanExporter()
        traced = tracing(exporter, ratio)
        with traced.tracer.start_as_current_span("sweep"):
            pass
        assert names(exporter, traced) == recorded


def test_inside_a_call_that_is_not_recorded_nothing_is() -> None:
    exporter = InMemorySpanExporter()
    traced = tracing(exporter, 1.0)
    header = f"00-{TRACE}-{SPAN}-00"
    outer = current_call.set(Call(GET_ME, {"traceparent": header}, float("inf")))
    try:
        with traced.tracer.start_as_current_span("inner"):
            assert outgoing_traceparent() == header
    finally:
        current_call.reset(outer)
    assert names(exporter, traced) == []


@pytest.mark.parametrize(("flags", "recorded"), [("01", ["consume"]), ("00", [])])
def test_a_trace_that_comes_with_a_message_decides(flags: str, recorded: list[str]) -> None:
    exporter = InMemorySpanExporter()
    traced = tracing(exporter, 0.5)
    span = traced.tracer.start_span("consume", remote_context(f"00-{TRACE}-{SPAN}-{flags}"))
    assert f"{span.get_span_context().trace_id:032x}" == TRACE
    span.end()
    assert names(exporter, traced) == recorded


def test_a_broken_traceparent_is_none() -> None:
    span = trace.get_current_span(remote_context("00-xyz-1-01"))
    assert isinstance(span, NonRecordingSpan)
    assert not span.get_span_context().is_valid
