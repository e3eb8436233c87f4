"""What the engine counts."""

from prometheus_client import CollectorRegistry, generate_latest

from services.execution.engine.status import Status
from services.execution.worker.meters import Meters


def test_counts_become_series_when_they_are_asked_for() -> None:
    meters, registry = Meters(), CollectorRegistry()
    registry.register(meters)
    meters.run_left("SUCCEEDED")
    meters.attempt_ended("PauseBlock", Status.COMPLETED, 0.05)
    meters.attempt_ended("PauseBlock", Status.WAITING, 99.0)
    meters.runs_held = 3
    text = generate_latest(registry).decode()
    assert 'treadle_engine_runs_total{outcome="SUCCEEDED"} 1.0' in text
    assert 'treadle_engine_attempts_total{block="PauseBlock",status="WAITING"} 1.0' in text
    assert 'treadle_engine_attempt_duration_seconds_bucket{le="0.1"} 1.0' in text
    assert 'treadle_engine_attempt_duration_seconds_bucket{le="+Inf"} 2.0' in text
    assert "treadle_engine_runs_held 3.0" in text
