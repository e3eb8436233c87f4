"""Metrics and traces of a process.

Metrics are Prometheus series (RED per method, loop lag), served on `/metrics`. Traces are OpenTelemetry spans that we make ourselves,
in the chain: OpenTelemetry's aio instrumentation costs 27 to 51 % of throughput, also when nothing is sampled, and records failures as OK.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from time import perf_counter

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from mesh.call import current_call
from mesh.contract import Method
from mesh.errors import Code
from mesh.logs import get_logger
from mesh.settings import Settings

TRACEPARENT = "traceparent"
# Seconds; from a cached read to the longest unary deadline.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LOOP_LAG_EVERY_S = 0.25
LOOP_LAG_ALARM_S = 0.05
EXPORT_TIMEOUT_S = 2

_W3C_SAMPLED = 1
_W3C_PARTS = 4

_log = get_logger("mesh.telemetry")


class Metrics:
    """The series of one process. Children are looked up once per method and code: labels are too slow for every call."""

    def __init__(self) -> None:
        """Makes a registry of its own, so that two hosts in one process (tests) do not meet."""
        self.registry = CollectorRegistry()
        labels = ("service", "method")
        name = "treadle_rpc"
        self._handled = Counter(f"{name}_handled", "Calls that ended, by code", (*labels, "code"), registry=self.registry)
        self._duration = Histogram(f"{name}_duration_seconds", "Length of calls", labels, buckets=BUCKETS_S, registry=self.registry)
        self._active = Gauge(f"{name}_active", "Calls at work", labels, registry=self.registry)
        self.loop_lag = Gauge("treadle_loop_lag_seconds", "How late the event loop runs its timers", registry=self.registry)
        self._counters: dict[tuple[str, Code], Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._gauges: dict[str, Gauge] = {}
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def started(self, method: Method) -> None:
        """Counts a call in."""
        gauge = self._gauges.get(method.full_name)
        if gauge is None:
            gauge = self._gauges[method.full_name] = self._active.labels(method.service, method.name)
        gauge.inc()

    def ended(self, method: Method, code: Code, duration_s: float) -> None:
        """Counts a call out."""
        key = (method.full_name, code)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._handled.labels(method.service, method.name, code.name)
        counter.inc()
        self._gauges[method.full_name].dec()
        if method.is_server_streaming:
            return
        histogram = self._histograms.get(method.full_name)
        if histogram is None:
            histogram = self._histograms[method.full_name] = self._duration.labels(method.service, method.name)
        histogram.observe(duration_s)

    def text(self) -> bytes:
        """All series in the Prometheus text format."""
        return generate_latest(self.registry)


class Tracing:
    """Decides per call whether it is traced. A call that is not costs one look at its metadata and one random number."""

    def __init__(self, ratio: float, provider: TracerProvider | None) -> None:
        """Without a provider nothing is recorded, but the caller's trace is still passed on."""
        self._ratio = ratio
        self._provider = provider
        self._tracer = provider.get_tracer("treadle.mesh") if provider is not None else None

    def start(self, method: Method, metadata: Mapping[str, str]) -> trace.Span | None:
        """A span for a call that is sampled: by its caller when that has decided, else by chance."""
        if self._tracer is None:
            return None
        parent = _parse(metadata.get(TRACEPARENT, ""))
        if parent is not None:
            if not parent.trace_flags.sampled:
                return None
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
            return self._tracer.start_span(method.full_name[1:], context, trace.SpanKind.SERVER)
        if random.random() >= self._ratio:  # noqa: S311 - sampling is no secret
            return None
        return self._tracer.start_span(method.full_name[1:], kind=trace.SpanKind.SERVER)

    def shutdown(self) -> None:
        """Sends what is left, for at most the export's timeout."""
        if self._provider is not None:
            self._provider.force_flush(EXPORT_TIMEOUT_S * 1000)
            self._provider.shutdown()


def outgoing_traceparent() -> str:
    """The `traceparent` for a call made now: of the current span, else of the caller, else a new one that says "not sampled"."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
    call = current_call.get()
    given = call.metadata.get(TRACEPARENT, "") if call is not None else ""
    return given or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def make_tracing(settings: Settings, service: str, exporter: SpanExporter | None = None) -> Tracing:
    """Tracing as the settings say; off without an endpoint. `exporter` takes the place of OTLP."""
    if exporter is None:
        if not settings.otlp_endpoint:
            return Tracing(0.0, None)
        # Imported late: the exporter is heavy and most processes have no collector.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter(settings.otlp_endpoint, insecure=True, timeout=EXPORT_TIMEOUT_S)
    provider = TracerProvider(ALWAYS_ON, Resource.create({"service.name": f"treadle-{service}"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=EXPORT_TIMEOUT_S * 1000))
    return Tracing(settings.trace_sample_ratio, provider)


@asynccontextmanager
async def loop_lag(metrics: Metrics) -> AsyncIterator[None]:
    """Watches how late the event loop is, sets the gauge and logs when something blocks the loop."""
    task = asyncio.create_task(_watch_loop(metrics), name="loop-lag")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _watch_loop(metrics: Metrics) -> None:
    while True:
        start = perf_counter()
        await asyncio.sleep(LOOP_LAG_EVERY_S)
        lag_s = max(0.0, perf_counter() - start - LOOP_LAG_EVERY_S)
        metrics.loop_lag.set(lag_s)
        if lag_s > LOOP_LAG_ALARM_S:
            _log.warning("loop_lag", lag_ms=round(lag_s * 1e3, 1))


def _parse(header: str) -> trace.SpanContext | None:
    parts = header.split("-")
    if len(parts) < _W3C_PARTS:
        return None
    try:
        trace_id, span_id, flags = int(parts[1], 16), int(parts[2], 16), int(parts[3], 16)
    except ValueError:
        return None
    context = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags & _W3C_SAMPLED))
    return context if context.is_valid else None
