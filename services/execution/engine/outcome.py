"""How a run ended: its status, what came of it, its outputs and counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from services.block.sdk import BlockType
from services.execution.engine.dataflow import explain
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status

# Firings that still wait can be as many as the values of a generator; the first of them tell the story.
BLOCKED_SHOWN = 100


class Outcome(IntEnum):
    """Numbers are those of `treadle.execution.v1.ExecutionOutcome`."""

    UNSPECIFIED = 0
    SUCCEEDED = 1
    COMPLETED_WITH_ERRORS = 2
    NO_OUTPUT = 3
    FAILED = 4
    TERMINATED = 5


@dataclass(frozen=True, slots=True)
class Blocked:
    """A firing that never started: what it has, what it lacks, and why in words."""

    node_id: str
    pins_present: tuple[str, ...]
    pins_missing: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of firings, and times in seconds. The names are those of `treadle.execution.v1.ExecutionStats`.

    `node_count` and `node_error_count` include the firings of child runs. `node_time_s` is the work of all attempts, without waits.
    """

    node_count: int
    node_error_count: int
    node_incomplete_count: int
    node_time_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a run comes to. `outputs` are lists by name, in the order the output nodes were queued; `blocked` has BLOCKED_SHOWN at most."""

    status: Status
    outcome: Outcome
    outputs: dict[str, list[Any]]
    stats: Stats
    blocked: Sequence[Blocked]


def conclude(state: State, status: Status | None = None, *, now_us: int = 0) -> Conclusion:
    """Sums up a run.

    Without `status` the run is taken to end by itself now: COMPLETED, or REVIEW when firings wait for a person. Callers that stop it name
    FAILED or TERMINATED. `now_us` is the end, for the duration of a run whose terminal event is not folded yet.
    """
    if status is None:
        status = state.status if state.status.is_ended else _own_end(state)
    end_us = state.ended_us or now_us
    waiting = [firing for lane in state.lanes for firing in lane.waiting]
    stats = Stats(
        node_count=state.ended_count + state.nested_count,
        node_error_count=state.failed_count + state.nested_failed_count,
        node_incomplete_count=len(waiting),
        node_time_s=state.node_time_us / 1e6,
        duration_s=max(end_us - state.started_us, 0) / 1e6 if state.started_us else 0.0,
    )
    blocked = [_blocked(state, firing) for firing in waiting[:BLOCKED_SHOWN]]
    return Conclusion(status, _outcome(state, status), outputs(state), stats, blocked)


def child_answer(state: State, execution_id: str) -> dict[str, Any]:
    """What the parent's firing is told about this run, which has ended."""
    end = conclude(state)
    return {
        "execution_id": execution_id,
        "status": end.status.name,
        "outcome": end.outcome.name,
        "error": state.error,
        "outputs": [[name, value] for name, value in state.handed_up],
        "node_count": end.stats.node_count,
        "node_error_count": end.stats.node_error_count,
    }


def outputs(state: State) -> dict[str, list[Any]]:
    """The run's outputs so far: lists by name."""
    found: dict[str, list[Any]] = {}
    for name, value in state.results:
        found.setdefault(name, []).append(value)
    return found


def _own_end(state: State) -> Status:
    return Status.REVIEW if state.review_count else Status.COMPLETED


def _outcome(state: State, status: Status) -> Outcome:
    if status is Status.FAILED:
        return Outcome.FAILED
    if status is Status.TERMINATED:
        return Outcome.TERMINATED
    if status is not Status.COMPLETED:
        return Outcome.UNSPECIFIED
    if state.failed_count or state.nested_failed_count:
        return Outcome.COMPLETED_WITH_ERRORS
    if state.results or not any(node.type is BlockType.OUTPUT for node in state.plan.nodes):
        return Outcome.SUCCEEDED
    return Outcome.NO_OUTPUT


def _blocked(state: State, firing: Firing) -> Blocked:
    why = explain(state, firing)
    missing, reason = (why.missing, why.reason) if why else ((), "")
    return Blocked(firing.node.id, tuple(firing.arrived), missing, reason)
