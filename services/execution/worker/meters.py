"""What the engine counts. Plain numbers that only the event loop touches; they become series when somebody scrapes."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.execution.engine.status import Status

# Seconds; from a pure block to the longest that a firing may run by default.
BUCKETS_S = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0)


class Meters(Collector):
    """Runs by outcome, attempts by block and status, and how long they were at work. Registered with a process's metrics once."""

    def __init__(self) -> None:
        self._runs: Counter[str] = Counter()
        self._firings: dict[tuple[str, Status], int] = {}
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._total_s = 0.0
        self.runs_held = 0

    def run_left(self, outcome: str) -> None:
        """A run has ended with `outcome`, or has PARKED."""
        self._runs[outcome] += 1

    def attempt_ended(self, block: str, status: Status, duration_s: float) -> None:
        """A firing has ended, or waits for its next attempt."""
        key = block, status
        self._firings[key] = self._firings.get(key, 0) + 1
        self._buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        self._total_s += duration_s

    def collect(self) -> Iterator[Metric]:
        """The series; called by the registry."""
        runs = CounterMetricFamily("treadle_engine_runs", "Executions that left this worker, by outcome or as PARKED", labels=("outcome",))
        for outcome, count in self._runs.items():
            runs.add_metric((outcome,), count)
        firings = CounterMetricFamily(
            "treadle_engine_attempts", "Attempts that ended; WAITING: another follows", labels=("block", "status")
        )
        for (block, status), count in self._firings.items():
            firings.add_metric((block, status.name), count)
        durations = HistogramMetricFamily("treadle_engine_attempt_duration_seconds", "How long attempts were at work")
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        durations.add_metric((), list(zip(bounds, accumulate(self._buckets), strict=True)), self._total_s)
        held = GaugeMetricFamily("treadle_engine_runs_held", "Executions that this worker has", value=self.runs_held)
        yield from (runs, firings, durations, held)
