"""What happens in a run. The journal is a list of these, and the state of a run is the fold over that list."""

from enum import IntEnum
from typing import Any, Final

import msgspec

NO_FIRING: Final = -1


class EventKind(IntEnum):
    """Numbers are those of `treadle.execution.v1.EventKind`."""

    EXECUTION_QUEUED = 1
    EXECUTION_STARTED = 2
    EXECUTION_RESUMED = 3
    EXECUTION_REVIEW = 4
    EXECUTION_COMPLETED = 5
    EXECUTION_FAILED = 6
    EXECUTION_TERMINATED = 7
    NODE_STARTED = 8
    NODE_OUTPUT = 9
    NODE_COMPLETED = 10
    NODE_FAILED = 11
    NODE_REVIEW = 12
    NODE_TERMINATED = 13
    NODE_WAITING = 14
    NODE_RESUMED = 15

    @property
    def is_of_firing(self) -> bool:
        """True for events of one firing, false for those of the whole run."""
        return self >= EventKind.NODE_STARTED

    @property
    def is_terminal(self) -> bool:
        """True for the last event of a run."""
        return EventKind.EXECUTION_COMPLETED <= self <= EventKind.EXECUTION_TERMINATED


class Event(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened.

    `firing` is `Firing.index`. `ordinal` is the attempt, from 0, for NODE_STARTED and the position among the firing's outputs, from 0, for
    NODE_OUTPUT. `value` is plain JSON; nobody may change it once it is in an event: inputs of NODE_STARTED, the output of NODE_OUTPUT, what
    is waited for of NODE_REVIEW and NODE_WAITING, the answer of NODE_RESUMED.
    """

    kind: EventKind
    time_us: int
    firing: int = NO_FIRING
    ordinal: int = 0
    pin: str = ""
    value: Any = None
    error: str = ""
