"""Traces of a process, and the watch on its event loop.

Traces are OpenTelemetry spans that we make ourselves, in the chain: OpenTelemetry's aio instrumentation costs 27 to 51 % of throughput,
also when nothing is sampled, and records failures as OK.

A service adds spans of its own with `resources.tracer`, an ordinary OpenTelemetry tracer:

    with resources.tracer.start_as_current_span("engine.commit", attributes={"records": len(batch)}):
        ...

Inside a call they are recorded when the call is; outside of one (loops, consumers) by chance, or as the trace that came with a message
says: `start_span(..., context=remote_context(traceparent))`, with `outgoing_traceparent()` on the sender's side.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from mesh.call import current_call
from mesh.contract import Method
from mesh.logs import get_logger
from mesh.metrics import Metrics
from mesh.settings import Settings
from mesh.tasks import end

TRACEPARENT = "traceparent"
LOOP_LAG_EVERY_S = 0.25
LOOP_LAG_ALARM_S = 0.05
EXPORT_TIMEOUT_S = 2

_W3C_SAMPLED = 1
_W3C_PARTS = 4

_log = get_logger("mesh.telemetry")


class Tracing:
    """Decides per call whether it is traced. A call that is not costs one look at its metadata and one random number."""

    def __init__(self, ratio: float, provider: TracerProvider | None) -> None:
        """Without a provider nothing is recorded, but the caller's trace is still passed on."""
        self._ratio = ratio
        self._provider = provider
        self._tracer = provider.get_tracer("treadle.mesh") if provider is not None else None
        # For spans of services; records nothing without a provider.
        self.tracer: trace.Tracer = self._tracer or trace.NoOpTracer()

    def start(self, method: Method, metadata: Mapping[str, str]) -> trace.Span | None:
        """A span for a call that is sampled: by its caller when that has decided, else by chance."""
        if self._tracer is None:
            return None
        parent = _parse(metadata.get(TRACEPARENT, ""))
        if parent is not None:
            if not parent.trace_flags.sampled:
                return None
            return self._tracer.start_span(method.full_name[1:], _context(parent), SpanKind.SERVER)
        if random.random() >= self._ratio:  # noqa: S311 - sampling is no secret
            return None
        return self._tracer.start_span(method.full_name[1:], kind=SpanKind.SERVER)

    def shutdown(self) -> None:
        """Sends what is left, for at most the export's timeout."""
        if self._provider is not None:
            self._provider.force_flush(EXPORT_TIMEOUT_S * 1000)
            self._provider.shutdown()


def remote_context(traceparent: str) -> Context:
    """The context of a trace that came from elsewhere, for spans to be its children; an empty one when it is none."""
    parent = _parse(traceparent)
    return _context(parent) if parent is not None else Context()


def outgoing_traceparent() -> str:
    """The `traceparent` for a call made now: of the current span, else of the caller, else a new one that says "not sampled"."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid and span.trace_flags.sampled:
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
    call = current_call.get()
    given = call.metadata.get(TRACEPARENT, "") if call is not None else ""
    return given or f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-00"


def make_tracing(settings: Settings, service: str, exporter: SpanExporter | None = None) -> Tracing:
    """Tracing as the settings say; off without an endpoint. `exporter` takes the place of OTLP."""
    if exporter is None:
        if not settings.otlp_endpoint:
            return Tracing(0.0, None)
        # Imported late: the exporter is heavy and most processes have no collector.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter(settings.otlp_endpoint, insecure=True, timeout=EXPORT_TIMEOUT_S)
    resource = Resource.create({"service.name": f"treadle-{service}"})
    provider = TracerProvider(_Sampler(settings.trace_sample_ratio), resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=EXPORT_TIMEOUT_S * 1000))
    return Tracing(settings.trace_sample_ratio, provider)


class _Sampler(Sampler):
    """Follows the parent. Without one: calls are decided by `Tracing`, what a call does follows the call, the rest is left to chance."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio

    def should_sample(  # noqa: PLR0917 - as the library calls it
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            is_sampled = bool(parent.trace_flags.sampled)
        elif current_call.get() is not None:
            is_sampled = kind is SpanKind.SERVER
        else:
            is_sampled = random.random() < self._ratio  # noqa: S311 - sampling is no secret
        return SamplingResult(Decision.RECORD_AND_SAMPLE if is_sampled else Decision.DROP, attributes)

    def get_description(self) -> str:
        return f"treadle({self._ratio})"


@asynccontextmanager
async def loop_lag(metrics: Metrics) -> AsyncIterator[None]:
    """Watches how late the event loop is, sets the gauge and logs when something blocks the loop."""
    task = asyncio.create_task(_watch_loop(metrics), name="loop-lag")
    try:
        yield
    finally:
        await end(task)


async def _watch_loop(metrics: Metrics) -> None:
    while True:
        start = perf_counter()
        await asyncio.sleep(LOOP_LAG_EVERY_S)
        lag_s = max(0.0, perf_counter() - start - LOOP_LAG_EVERY_S)
        metrics.loop_lag.set(lag_s)
        if lag_s > LOOP_LAG_ALARM_S:
            _log.warning("loop_lag", lag_ms=round(lag_s * 1e3, 1))


def _context(parent: trace.SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())


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
