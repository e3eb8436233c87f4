"""What a run comes to, in a word and in figures."""

from typing import Any

import pytest
from treadle.execution.v1 import execution_service_pb2 as pb

from services.execution.engine.dataflow import start
from services.execution.engine.events import EventKind
from services.execution.engine.outcome import BLOCKED_SHOWN, Blocked, Outcome, child_answer, conclude
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from services.execution.engine.waits import child_value
from tests.unit.execution.graphs import EXECUTION_ID, Journal, plan

NODES: dict[str, Any] = {"x": ("pass", {"a": 1}), "o": ("result", {"name": "R"}), "p": "pair"}
LINKS = ["x.out -> o.value", "x.one -> p.a", "x.other -> p.b"]


def _begun(nodes: dict[str, Any], links: list[str]) -> tuple[Journal, Firing]:
    state = State(plan(nodes, links), EXECUTION_ID)
    (firing,) = start(state, {})
    journal = Journal(state)
    return journal, journal.begin(firing)


def _finish(journal: Journal, firings: list[Firing]) -> None:
    for firing in firings:
        _finish(journal, journal.complete(journal.begin(firing)))


def test_a_run_with_an_output_succeeds() -> None:
    journal, x = _begun(NODES, LINKS)
    _finish(journal, journal.emit(x, "out", 1) + journal.emit(x, "out", None))
    journal.complete(x)
    end = conclude(journal.state)
    assert (end.status, end.outcome, end.outputs) == (Status.COMPLETED, Outcome.SUCCEEDED, {"R": [1, None]})
    assert (end.stats.node_count, end.stats.node_error_count, end.stats.node_incomplete_count) == (3, 0, 0)


def test_a_run_that_declares_no_output_succeeds_without_one() -> None:
    journal, x = _begun({"x": ("pass", {"a": 1})}, [])
    journal.complete(x)
    assert conclude(journal.state).outcome is Outcome.SUCCEEDED


def test_a_run_whose_outputs_got_no_value_says_so() -> None:
    journal, x = _begun(NODES, LINKS)
    journal.complete(x)
    assert conclude(journal.state).outcome is Outcome.NO_OUTPUT


def test_a_failed_firing_shows_in_the_outcome_not_in_the_status() -> None:
    journal, x = _begun(NODES, LINKS)
    _finish(journal, journal.emit(x, "out", 1))
    journal.fail(x, "broken")
    end = conclude(journal.state)
    assert (end.status, end.outcome, end.stats.node_error_count) == (Status.COMPLETED, Outcome.COMPLETED_WITH_ERRORS, 1)


def test_failures_deep_in_nested_runs_show_at_the_top() -> None:
    inner, x = _begun(NODES, LINKS)
    inner.fail(x, "broken")
    inner.write(EventKind.EXECUTION_COMPLETED)
    middle, y = _begun(NODES, LINKS)
    middle.write(EventKind.NODE_WAITING, y, value=child_value("inner"))
    middle.write(EventKind.NODE_RESUMED, y, value=child_answer(inner.state, "inner"))
    middle.complete(y)
    middle.write(EventKind.EXECUTION_COMPLETED)
    top, z = _begun(NODES, LINKS)
    top.write(EventKind.NODE_WAITING, z, value=child_value("middle"))
    top.write(EventKind.NODE_RESUMED, z, value=child_answer(middle.state, "middle"))
    _finish(top, top.emit(z, "out", 1))
    top.complete(z)
    end = conclude(top.state)
    assert (end.outcome, end.stats.node_count, end.stats.node_error_count) == (Outcome.COMPLETED_WITH_ERRORS, 4, 1)


@pytest.mark.parametrize(
    ("kind", "outcome"), [(EventKind.EXECUTION_FAILED, Outcome.FAILED), (EventKind.EXECUTION_TERMINATED, Outcome.TERMINATED)]
)
def test_a_run_that_was_stopped_keeps_the_outputs_it_had(kind: EventKind, outcome: Outcome) -> None:
    journal, x = _begun(NODES, LINKS)
    journal.emit(x, "out", 1)
    journal.write(kind, error="why")
    end = conclude(journal.state)
    assert (end.outcome, end.outputs, journal.state.error) == (outcome, {"R": [1]}, "why")


def test_firings_that_never_started_are_reported_with_the_reason() -> None:
    journal, x = _begun(NODES, LINKS)
    for value in range(BLOCKED_SHOWN + 1):
        journal.emit(x, "one", value)
    journal.complete(x)
    end = conclude(journal.state)
    assert end.blocked[0] == Blocked("p", ("a",), ("b",), "no value arrived at b")
    assert (len(end.blocked), end.stats.node_incomplete_count) == (BLOCKED_SHOWN, BLOCKED_SHOWN + 1)


def test_times_are_those_of_the_events() -> None:
    journal, x = _begun({"x": ("pass", {"a": 1})}, [])
    journal.complete(x)
    journal.write(EventKind.EXECUTION_COMPLETED)
    stats = conclude(journal.state).stats
    assert (stats.node_time_s, stats.duration_s) == (1e-6, 3e-6)


def test_a_value_that_cannot_be_checked_blocks_the_firing_not_the_run() -> None:
    journal, x = _begun({"x": ("pass", {"a": 1}), "n": ("number", {"a": 1})}, ["x.out -> n.items"])
    assert journal.emit(x, "out", "[" * 100_000 + "]" * 100_000) == []
    journal.complete(x)
    (blocked,) = conclude(journal.state).blocked
    assert "Recursion" in blocked.reason or "deep" in blocked.reason


def test_numbers_are_those_of_the_contract() -> None:
    assert {f"EXECUTION_OUTCOME_{outcome.name}": outcome.value for outcome in Outcome} == dict(pb.ExecutionOutcome.items())
    assert {f"EVENT_KIND_{kind.name}": kind.value for kind in EventKind} == {key: number for key, number in pb.EventKind.items() if number}
