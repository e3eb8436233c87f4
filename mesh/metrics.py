"""Metrics of a process: Prometheus series, RED per method and the lag of the loop, served on `/metrics`.

Calls are counted in plain integers that only the event loop touches; they become series when somebody scrapes. The client library's own
counters take a lock per step and a search through the labels, a third of what the whole chain costs.

A service counts with `resources.metrics`, made once when it is built:

    committed = resources.metrics.counter("treadle_engine_steps_total", "Node steps that were committed", ["effect"])
    pure = committed.labels("pure")  # look a label up once, not per step
    pure.inc(len(batch))
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from mesh.contract import Method
from mesh.errors import Code

# Seconds; from a cached read to the longest unary deadline.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

PREFIX = "treadle_"

_LABELS = ("service", "method")

_Series = TypeVar("_Series", bound=MetricWrapperBase)


class _MethodCounts:
    """What is counted for one method. `buckets` are not cumulative; the last one is for what is longer than all bounds."""

    __slots__ = ("active", "buckets", "by_code", "method", "total_s")

    def __init__(self, method: Method) -> None:
        self.method = method
        self.active = 0
        self.by_code: dict[Code, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0


class Metrics(Collector):
    """The series of one process. Its registry takes more from whoever has something to count."""

    def __init__(self) -> None:
        """Makes a registry of its own, so that two hosts in one process (tests) do not meet."""
        self.registry = CollectorRegistry()
        self.loop_lag = Gauge("treadle_loop_lag_seconds", "How late the event loop runs its timers", registry=self.registry)
        self._counts: dict[str, _MethodCounts] = {}
        self._own: dict[str, tuple[tuple[str, ...], MetricWrapperBase]] = {}
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        """A count that only grows, `treadle_<part>_<what>_total`. `inc(n)` takes a lock, about 0.5 µs: add up a batch before.

        Like all series of services it may be used from any thread, and asked for again: the same name gives the same series. Raises
        ValueError for a name without the prefix and for one that is taken by another kind or other labels. Labels never hold ids.
        """
        return self._series(Counter, name, about, labels)

    def gauge(self, name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
        """A value that goes up and down. `set_function` reads it when somebody scrapes, which costs nothing in between."""
        return self._series(Gauge, name, about, labels)

    def histogram(self, name: str, about: str, labels: Sequence[str] = (), buckets: Sequence[float] = BUCKETS_S) -> Histogram:
        """A distribution; the name says the unit, `treadle_<part>_<what>_seconds`. `observe(value)`."""
        return self._series(Histogram, name, about, labels, buckets=buckets)

    def started(self, method: Method) -> None:
        """Counts a call in. Only from the event loop."""
        counts = self._counts.get(method.full_name)
        if counts is None:
            counts = self._counts[method.full_name] = _MethodCounts(method)
        counts.active += 1

    def ended(self, method: Method, code: Code, duration_s: float) -> None:
        """Counts out a call that was counted in. The length of streams is not observed: it says nothing about health."""
        counts = self._counts[method.full_name]
        counts.active -= 1
        counts.by_code[code] = counts.by_code.get(code, 0) + 1
        if not method.is_server_streaming:
            counts.buckets[bisect_left(BUCKETS_S, duration_s)] += 1
            counts.total_s += duration_s

    def text(self) -> bytes:
        """All series in the Prometheus text format."""
        return generate_latest(self.registry)

    def _series(self, kind: type[_Series], name: str, about: str, labels: Sequence[str], **options: Any) -> _Series:
        if not name.startswith(PREFIX):
            raise ValueError(f"{name}: names of series start with {PREFIX}")
        known = self._own.get(name)
        if known is None:
            made = kind(name, about, tuple(labels), registry=self.registry, **options)
            self._own[name] = (tuple(labels), made)
            return made
        known_labels, series = known
        if not isinstance(series, kind) or known_labels != tuple(labels):
            raise ValueError(f"{name} is a series of another kind or with other labels already")
        return series

    def collect(self) -> Iterator[Metric]:
        """The counts as series; called by the registry."""
        handled = CounterMetricFamily("treadle_rpc_handled", "Calls that ended, by code", labels=(*_LABELS, "code"))
        active = GaugeMetricFamily("treadle_rpc_active", "Calls at work", labels=_LABELS)
        duration = HistogramMetricFamily("treadle_rpc_duration_seconds", "Length of unary calls", labels=_LABELS)
        for counts in self._counts.values():
            labels = (counts.method.service, counts.method.name)
            active.add_metric(labels, counts.active)
            for code, count in counts.by_code.items():
                handled.add_metric((*labels, code.name), count)
            if not counts.method.is_server_streaming:
                bounds = [*map(str, BUCKETS_S), "+Inf"]
                duration.add_metric(labels, list(zip(bounds, accumulate(counts.buckets), strict=True)), counts.total_s)
        yield from (handled, active, duration)
