"""The fold: what each event of the journal changes in the state of a run. What values do when they arrive is in `dataflow`."""

from collections.abc import Callable, Mapping

from services.block.sdk.outputs import ERROR_PIN
from services.execution.engine.dataflow import advance, emit
from services.execution.engine.events import Event, EventKind
from services.execution.engine.state import Firing, JournalError, State
from services.execution.engine.status import Status, move
from services.execution.engine.waits import Course, WaitKind, child_errors, child_nodes, is_for_the_future, waiting_of


def apply(state: State, event: Event) -> list[Firing]:
    """Folds the next event of the journal and returns the firings that became ready, in the order they were queued.

    Raises JournalError or IllegalTransitionError when it cannot be the next.
    """
    ready: list[Firing] = []
    _FOLDS[event.kind](state, event, ready)
    return ready


# --- Events of a firing ----------------------------------------------------------------------------------------------------------------


def _node_started(state: State, event: Event, ready: list[Firing]) -> None:
    """The first attempt, one more after an interruption, or the next one after a failure."""
    firing = state.firing(event.firing)
    if event.ordinal != firing.attempt + 1:
        raise JournalError(f"attempt {event.ordinal} of firing {firing.index} follows attempt {firing.attempt}")
    firing.attempt = event.ordinal
    firing.started_us = event.time_us
    course = firing.course
    if course is not None:
        if course.wait is not None:
            _leave_wait(state, firing)
        course.start()
    if firing.status is not Status.RUNNING:
        firing.status = move(firing.status, Status.RUNNING)


def _node_output(state: State, event: Event, ready: list[Firing]) -> None:
    firing = state.firing(event.firing)
    if firing.status is not Status.RUNNING:
        raise JournalError(f"firing {firing.index} is {firing.status.name} and cannot emit")
    if event.ordinal != firing.emitted:
        raise JournalError(f"output {event.ordinal} of firing {firing.index} follows {firing.emitted} outputs")
    firing.emitted += 1
    state.emission_count += 1
    emit(state, firing, event.pin, event.value, ready)


def _node_completed(state: State, event: Event, ready: list[Firing]) -> None:
    firing = state.firing(event.firing)
    _end(state, firing, Status.COMPLETED, event)
    advance(state, state.lanes[firing.node.index], ready)


def _node_failed(state: State, event: Event, ready: list[Firing]) -> None:
    """The failure goes out on the pin `error`, behind what the firing emitted before."""
    firing = state.firing(event.firing)
    _end(state, firing, Status.FAILED, event)
    state.failed_count += 1
    emit(state, firing, ERROR_PIN, event.error, ready)
    advance(state, state.lanes[firing.node.index], ready)


def _node_terminated(state: State, event: Event, ready: list[Firing]) -> None:
    """The run is being stopped, so what later firings of the node hold stays with them."""
    _end(state, state.firing(event.firing), Status.TERMINATED, event)


def _node_review(state: State, event: Event, ready: list[Firing]) -> None:
    """A person is asked."""
    _enter_wait(state, event, Status.REVIEW)
    state.review_count += 1


def _node_waiting(state: State, event: Event, ready: list[Firing]) -> None:
    """A time, a child run or the next attempt is waited for; in the last case `error` says why there is one."""
    firing = _enter_wait(state, event, Status.WAITING)
    firing.error = event.error
    state.waiting_count += 1


def _node_resumed(state: State, event: Event, ready: list[Firing]) -> None:
    """The answer is there."""
    firing = state.firing(event.firing)
    course = firing.course
    if course is None or course.wait is None or course.wait.kind is WaitKind.RETRY:
        raise JournalError(f"firing {firing.index} waits for no answer")
    if course.wait.kind is WaitKind.CHILD:
        state.nested_count += child_nodes(event.value)
        state.nested_failed_count += child_errors(event.value)
    elif course.wait.kind is WaitKind.REVIEW and is_for_the_future(event.value):
        state.auto_approved.add(firing.node.index)
    _leave_wait(state, firing)
    course.take(event.value, firing.emitted, event.time_us)
    firing.status = move(firing.status, Status.RUNNING)


def _enter_wait(state: State, event: Event, status: Status) -> Firing:
    firing = state.firing(event.firing)
    firing.status = move(firing.status, status)
    if firing.course is None:
        firing.course = Course()
    try:
        wait = waiting_of(event.value)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise JournalError(f"firing {firing.index} waits for something unknown: {error}") from error
    # How long a firing worked that was cut off is not known.
    if wait.kind is not WaitKind.INTERRUPTION:
        state.node_time_us += _worked_us(firing, event)
    firing.course.begin(wait)
    state.waiting[firing.index] = firing
    state.open_count -= 1
    state.idle_us = event.time_us
    return firing


def _leave_wait(state: State, firing: Firing) -> None:
    if firing.status is Status.REVIEW:
        state.review_count -= 1
    else:
        state.waiting_count -= 1
    del state.waiting[firing.index]
    state.open_count += 1


def _worked_us(firing: Firing, event: Event) -> int:
    """How long it has been at work since it started, or went on with an answer, until now."""
    resumed_us = 0 if firing.course is None else firing.course.resumed_us
    return event.time_us - (resumed_us or firing.started_us)


def _end(state: State, firing: Firing, status: Status, event: Event) -> None:
    if firing.started_us:
        state.ended_count += 1
        if firing.status is Status.RUNNING:
            state.node_time_us += _worked_us(firing, event)
    if state.waiting:
        state.idle_us = event.time_us
        if firing.index in state.waiting:
            _leave_wait(state, firing)
    state.open_count -= 1
    firing.status = move(firing.status, status)
    firing.ended_us = event.time_us
    firing.error = event.error


# --- Events of the run -----------------------------------------------------------------------------------------------------------------


def _run_queued(state: State, event: Event, ready: list[Firing]) -> None:
    """The state begins as QUEUED."""


def _run_started(state: State, event: Event, ready: list[Firing]) -> None:
    state.status = move(state.status, Status.RUNNING)
    state.started_us = event.time_us


def _run_resumed(state: State, event: Event, ready: list[Firing]) -> None:
    """Another worker goes on. What was at work is started again by a NODE_STARTED of its own."""
    if state.waiting and not state.open_count:
        state.paused_us += event.time_us - state.idle_us
    if state.status is not Status.RUNNING:
        state.status = move(state.status, Status.RUNNING)


def _run_review(state: State, event: Event, ready: list[Firing]) -> None:
    state.status = move(state.status, Status.REVIEW)


def _run_ended(state: State, event: Event, ready: list[Firing]) -> None:
    """Firings that are still open share the fate of the run."""
    status = _ENDS[event.kind]
    if status is Status.COMPLETED and (state.open_count or state.waiting):
        raise JournalError("the run completed although firings are open")
    state.status = move(state.status, status)
    state.ended_us = event.time_us
    state.error = event.error
    for lane in state.lanes:
        for firing in lane.order:
            if not firing.status.is_ended:
                _end(state, firing, status, event)


_ENDS: Mapping[EventKind, Status] = {
    EventKind.EXECUTION_COMPLETED: Status.COMPLETED,
    EventKind.EXECUTION_FAILED: Status.FAILED,
    EventKind.EXECUTION_TERMINATED: Status.TERMINATED,
}

_FOLDS: Mapping[EventKind, Callable[[State, Event, list[Firing]], None]] = {
    EventKind.EXECUTION_QUEUED: _run_queued,
    EventKind.EXECUTION_STARTED: _run_started,
    EventKind.EXECUTION_RESUMED: _run_resumed,
    EventKind.EXECUTION_REVIEW: _run_review,
    EventKind.EXECUTION_COMPLETED: _run_ended,
    EventKind.EXECUTION_FAILED: _run_ended,
    EventKind.EXECUTION_TERMINATED: _run_ended,
    EventKind.NODE_STARTED: _node_started,
    EventKind.NODE_OUTPUT: _node_output,
    EventKind.NODE_COMPLETED: _node_completed,
    EventKind.NODE_FAILED: _node_failed,
    EventKind.NODE_REVIEW: _node_review,
    EventKind.NODE_TERMINATED: _node_terminated,
    EventKind.NODE_WAITING: _node_waiting,
    EventKind.NODE_RESUMED: _node_resumed,
}
