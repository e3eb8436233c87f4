"""Firings that wait: for a person, a time, a child run or their next attempt."""

import pytest

from services.execution.engine.dataflow import start
from services.execution.engine.events import EventKind
from services.execution.engine.outcome import conclude
from services.execution.engine.state import Firing, JournalError, State
from services.execution.engine.status import Status
from services.execution.engine.waits import WaitKind, approval, child_value, interruption_value, retry_value, timer_value
from tests.unit.execution.graphs import EXECUTION_ID, Journal, plan

REVIEW = {"message": "May I?", "data": {"x": 1}, "is_editable": True}
YES = {"approved": True, "data": {"x": 2}, "message": "go"}
S = 1_000_000


def begun(nodes: int = 1) -> tuple[Journal, list[Firing]]:
    """That many firings at work."""
    state = State(plan({f"n{at}": ("pass", {"a": 1}) for at in range(nodes)}), EXECUTION_ID)
    ready = start(state, {})
    journal = Journal(state)
    return journal, [journal.begin(firing) for firing in ready]


def counts(state: State) -> tuple[int, int, int]:
    """Firings at work, under review, and waiting for something else."""
    return state.open_count, state.review_count, state.waiting_count


def test_a_firing_under_review_is_not_open_and_goes_on_with_the_answer() -> None:
    journal, (x,) = begun()
    journal.write(EventKind.NODE_REVIEW, x, value=REVIEW)
    assert (counts(journal.state), x.status, x.waits, x.has_answer) == ((0, 1, 0), Status.REVIEW, 0, False)
    assert x.wait is not None
    assert (x.wait.kind, x.wait.value, x.wait.until_us) == (WaitKind.REVIEW, REVIEW, None)
    journal.write(EventKind.EXECUTION_REVIEW)
    journal.write(EventKind.EXECUTION_RESUMED)
    journal.write(EventKind.NODE_RESUMED, x, value=YES)
    assert (counts(journal.state), x.status, x.waits, x.answer) == ((1, 0, 0), Status.RUNNING, 1, YES)
    journal.complete(x)
    assert (counts(journal.state), x.status) == ((0, 0, 0), Status.COMPLETED)


def test_a_timer_says_when_it_ends_and_answers_with_nothing() -> None:
    journal, (x,) = begun()
    journal.write(EventKind.NODE_WAITING, x, value=timer_value(1_795_438_800_123_456))
    assert (counts(journal.state), x.status) == ((0, 0, 1), Status.WAITING)
    assert x.wait is not None
    assert (x.wait.kind, x.wait.until_us) == (WaitKind.TIMER, 1_795_438_800_123_456)
    journal.write(EventKind.NODE_RESUMED, x)
    assert (x.has_answer, x.answer, x.status) == (True, None, Status.RUNNING)


def test_a_failed_attempt_is_followed_by_another_and_its_outputs_stand() -> None:
    journal, (x,) = begun()
    journal.emit(x, "out", 1)
    journal.write(EventKind.NODE_WAITING, x, value=retry_value(1, 5 * S), error="away")
    assert (x.status, x.error, x.waits) == (Status.WAITING, "away", 0)
    assert x.course is not None
    assert x.course.failures == 1
    journal.begin(x)
    assert (x.attempt, x.status, x.emitted, x.waits) == (1, Status.RUNNING, 1, 1)
    assert counts(journal.state) == (1, 0, 0)


def test_the_nodes_of_a_child_run_count_and_the_next_attempt_starts_another_child() -> None:
    journal, (x,) = begun()
    journal.write(EventKind.NODE_WAITING, x, value=child_value("c1"))
    journal.write(EventKind.NODE_RESUMED, x, value={"execution_id": "c1", "status": "FAILED", "node_count": 3, "outputs": []})
    assert x.has_answer
    journal.write(EventKind.NODE_WAITING, x, value=retry_value(1, 5 * S), error="away")
    journal.begin(x)
    assert not x.has_answer
    journal.complete(x)
    journal.write(EventKind.EXECUTION_COMPLETED)
    assert conclude(journal.state).stats.node_count == 1 + 3


@pytest.mark.parametrize("says", [True, False])
def test_what_a_person_says_about_an_interruption_is_no_answer_for_the_block(says: bool) -> None:
    journal, (x,) = begun()
    journal.write(EventKind.NODE_REVIEW, x, value=interruption_value("Again?"))
    journal.write(EventKind.NODE_RESUMED, x, value={"approved": says})
    assert x.course is not None
    assert (x.has_answer, x.course.may_repeat) == (False, says)
    journal.begin(x)
    assert x.course.may_repeat is None


def test_an_approval_for_the_future_holds_for_the_node() -> None:
    journal, (x, y) = begun(2)
    journal.write(EventKind.NODE_REVIEW, x, value=REVIEW)
    assert x.wait is not None
    journal.write(EventKind.NODE_RESUMED, x, value=approval(x.wait))
    journal.write(EventKind.NODE_REVIEW, y, value=REVIEW)
    journal.write(EventKind.NODE_RESUMED, y, value=YES)
    assert journal.state.auto_approved == {x.node.index}
    assert x.answer["data"] == REVIEW["data"]


@pytest.mark.parametrize("kind", [EventKind.EXECUTION_TERMINATED, EventKind.EXECUTION_FAILED])
def test_firings_that_wait_share_the_fate_of_the_run(kind: EventKind) -> None:
    journal, (x, y) = begun(2)
    journal.write(EventKind.NODE_REVIEW, x, value=REVIEW)
    journal.write(EventKind.NODE_WAITING, y, value=child_value("c1"))
    journal.write(kind)
    assert counts(journal.state) == (0, 0, 0)
    assert x.status is y.status is journal.state.status


def test_a_run_does_not_complete_while_a_firing_waits() -> None:
    journal, (x,) = begun()
    journal.write(EventKind.NODE_WAITING, x, value=timer_value(5 * S))
    with pytest.raises(JournalError):
        journal.write(EventKind.EXECUTION_COMPLETED)


def test_an_answer_needs_a_wait_and_a_retry_takes_none() -> None:
    journal, (x, y) = begun(2)
    with pytest.raises(JournalError):
        journal.write(EventKind.NODE_RESUMED, x)
    journal.write(EventKind.NODE_WAITING, y, value=retry_value(1, 5 * S))
    with pytest.raises(JournalError):
        journal.write(EventKind.NODE_RESUMED, y)


@pytest.mark.parametrize("value", [None, {"for": "rain"}, {"for": "timer", "until": "soon"}, []])
def test_a_wait_for_nothing_known_is_a_damaged_journal(value: object) -> None:
    journal, (x,) = begun()
    with pytest.raises(JournalError):
        journal.write(EventKind.NODE_WAITING, x, value=value)


def test_the_work_of_all_attempts_counts_and_the_waits_between_do_not() -> None:
    journal, (x,) = begun()
    journal.time_us = 11 * S
    journal.write(EventKind.NODE_WAITING, x, value=retry_value(1, 60 * S), error="away")
    journal.time_us = 60 * S
    journal.begin(x)
    journal.time_us = 62 * S
    journal.write(EventKind.NODE_WAITING, x, value=child_value("c1"))
    journal.time_us = 100 * S
    journal.write(EventKind.NODE_RESUMED, x, value={"execution_id": "c1"})
    journal.time_us = 103 * S
    journal.complete(x)
    assert round(journal.state.node_time_us / S) == 10 + 2 + 3


def test_time_in_which_nobody_knows_what_a_firing_did_is_no_work() -> None:
    journal, (x,) = begun()
    journal.time_us = 50 * S
    journal.write(EventKind.EXECUTION_RESUMED)
    journal.write(EventKind.NODE_REVIEW, x, value=interruption_value("Again?"))
    journal.time_us = 70 * S
    journal.write(EventKind.NODE_TERMINATED, x)
    assert journal.state.node_time_us == 0


def test_time_spent_waiting_is_neither_work_of_the_node_nor_of_the_run() -> None:
    journal, (x,) = begun()
    journal.time_us = 10 * S
    journal.write(EventKind.NODE_WAITING, x, value=timer_value(70 * S))
    journal.time_us = 70 * S
    journal.write(EventKind.EXECUTION_RESUMED)
    assert abs(journal.state.paused_us - 60 * S) < S
    journal.write(EventKind.NODE_RESUMED, x)
    journal.complete(x)
    assert abs(journal.state.node_time_us - 9 * S) < S
