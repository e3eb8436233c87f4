"""Where a run or a firing stands, and which moves are allowed. One table serves both."""

from collections.abc import Mapping
from enum import IntEnum

from mesh.errors import InternalError


class Status(IntEnum):
    """Numbers are those of `treadle.execution.v1.ExecutionStatus`. `is_ended` is true when nothing more happens, short of a resume."""

    is_ended: bool

    INCOMPLETE = 1  # firings only: waits for values
    QUEUED = 2
    RUNNING = 3
    REVIEW = 4
    COMPLETED = 5
    TERMINATED = 6
    FAILED = 7
    WAITING = 8  # firings only: waits for a time, for a child run or for its next attempt

    def __init__(self, number: int) -> None:
        # A plain attribute: this is asked for every firing that ends.
        self.is_ended = number in (5, 6, 7)


# For each status, the statuses it may be reached from.
SOURCES: Mapping[Status, frozenset[Status]] = {
    Status.INCOMPLETE: frozenset(),
    Status.QUEUED: frozenset({Status.INCOMPLETE, Status.TERMINATED, Status.REVIEW}),
    Status.RUNNING: frozenset({Status.INCOMPLETE, Status.QUEUED, Status.TERMINATED, Status.REVIEW, Status.WAITING}),
    Status.REVIEW: frozenset({Status.RUNNING}),
    Status.COMPLETED: frozenset({Status.RUNNING}),
    Status.TERMINATED: frozenset({Status.INCOMPLETE, Status.QUEUED, Status.RUNNING, Status.REVIEW, Status.WAITING}),
    Status.FAILED: frozenset({Status.INCOMPLETE, Status.QUEUED, Status.RUNNING, Status.REVIEW, Status.WAITING}),
    Status.WAITING: frozenset({Status.RUNNING}),
}

_ALLOWED = frozenset((source, target) for target, sources in SOURCES.items() for source in sources)


class IllegalTransitionError(InternalError):
    """The engine tried a move that the table does not have: a fault of ours, or a damaged journal."""

    default_reason = "ILLEGAL_TRANSITION"


def move(source: Status, target: Status) -> Status:
    """`target`, when it may follow `source`. Raises IllegalTransitionError otherwise."""
    if (source, target) not in _ALLOWED:
        raise IllegalTransitionError(f"{source.name} cannot become {target.name}")
    return target
