"""What firings wait for, as the journal tells it: the values of NODE_REVIEW, NODE_WAITING and NODE_RESUMED, and what becomes of them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.block.sdk import Review

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class WaitKind(StrEnum):
    """What may be waited for; the text is the field `for` of an event's value."""

    REVIEW = "review"  # a decision that the block asked for
    INTERRUPTION = "interruption"  # a decision on whether a firing that was cut off may run again
    TIMER = "timer"
    CHILD = "child"
    RETRY = "retry"  # the next attempt

    @property
    def is_decision(self) -> bool:
        """True when a person answers."""
        return self in (WaitKind.REVIEW, WaitKind.INTERRUPTION)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A wait that has begun. `until_us` is when it ends by itself, in microseconds since 1970 UTC; None when only an answer ends it.

    `value` is that of the event that began it.
    """

    kind: WaitKind
    until_us: int | None
    value: Mapping[str, Any]


class Course:
    """The waits of one firing. `ended` counts those that are over, so it is also the number of the one that goes on."""

    __slots__ = ("answer", "answers", "base", "ended", "failures", "has_answer", "is_repeat", "may_repeat", "resumed_us", "wait")

    def __init__(self) -> None:
        self.wait: Waiting | None = None
        # When the newest answer set this attempt to work again; 0 when none did.
        self.resumed_us = 0
        self.ended = 0
        # What the block is told when it runs.
        self.answer: Any = None
        self.has_answer = False
        # How many answers the block has got, and how many outputs it had emitted before it ran with the newest.
        self.answers = 0
        self.base = 0
        self.is_repeat = False
        # Attempts that failed and were given another.
        self.failures = 0
        # What a person said about running again after an interruption; None when nobody was asked since the last start.
        self.may_repeat: bool | None = None

    def begin(self, wait: Waiting) -> None:
        """A wait begins. Before another attempt, the answer of a child run is dropped: that attempt has a child of its own."""
        self.wait = wait
        if wait.kind is WaitKind.RETRY:
            self.failures += 1
            if isinstance(self.answer, dict) and "execution_id" in self.answer:
                self.answer, self.has_answer = None, False
                self.answers -= 1
                self.is_repeat = True

    def take(self, answer: Any, emitted: int, time_us: int) -> None:
        """The answer ends the wait; `emitted` counts the outputs until now."""
        self.resumed_us = time_us
        if self.wait is not None and self.wait.kind is WaitKind.INTERRUPTION:
            self.may_repeat = is_approved(answer)
        else:
            # An attempt that repeats a failed one leaves out what that has emitted.
            if not self.is_repeat:
                self.base = emitted
            self.is_repeat = False
            self.answer, self.has_answer = answer, True
            self.answers += 1
        self._close()

    def start(self) -> None:
        """Another attempt begins, and ends the wait for it."""
        self.may_repeat = None
        self.resumed_us = 0
        if self.wait is not None:
            self._close()

    def _close(self) -> None:
        self.wait = None
        self.ended += 1


def is_approved(answer: Any) -> bool:
    """Whether the answer to a review says yes."""
    return isinstance(answer, dict) and answer.get("approved") is True


def is_for_the_future(answer: Any) -> bool:
    """Whether the answer to a review holds for later firings of the node, too."""
    return is_approved(answer) and answer.get("auto_approve_future") is True


def approval(wait: Waiting) -> dict[str, Any]:
    """The answer that a node gives itself after a person approved all its firings."""
    return {"approved": True, "data": wait.value.get("data"), "message": "", "auto_approve_future": True}


def child_nodes(answer: Any) -> int:
    """Firings of a child run that has ended, those of its own children included."""
    return _count(answer, "node_count")


def child_errors(answer: Any) -> int:
    """Those of them that failed."""
    return _count(answer, "node_error_count")


def _count(answer: Any, name: str) -> int:
    count = answer.get(name) if isinstance(answer, dict) else None
    return count if isinstance(count, int) else 0


# --- Values of events ------------------------------------------------------------------------------------------------------------------


def review_value(review: Review) -> dict[str, Any]:
    """Of NODE_REVIEW, for a block that asks."""
    return {"for": WaitKind.REVIEW.value, "message": review.message, "data": review.data, "is_editable": review.is_editable}


def interruption_value(message: str) -> dict[str, Any]:
    """Of NODE_REVIEW, for a firing that was cut off."""
    return {"for": WaitKind.INTERRUPTION.value, "message": message, "data": None, "is_editable": False}


def timer_value(until_us: int) -> dict[str, Any]:
    """Of NODE_WAITING, for a time."""
    return {"for": WaitKind.TIMER.value, "until": _text(until_us)}


def child_value(execution_id: str) -> dict[str, Any]:
    """Of NODE_WAITING, for the end of a child run."""
    return {"for": WaitKind.CHILD.value, "execution_id": execution_id}


def retry_value(attempt: int, until_us: int) -> dict[str, Any]:
    """Of NODE_WAITING, for the next attempt, counted from 0."""
    return {"for": WaitKind.RETRY.value, "attempt": attempt, "until": _text(until_us)}


def waiting_of(value: Any) -> Waiting:
    """What the value of NODE_REVIEW or NODE_WAITING says. Raises ValueError or KeyError when it says nothing."""
    until = value.get("until")
    return Waiting(WaitKind(value.get("for", "review")), None if until is None else _us(until), value)


def _text(time_us: int) -> str:
    return f"{(_EPOCH + dt.timedelta(microseconds=time_us)).isoformat().removesuffix('+00:00')}Z"


def _us(text: str) -> int:
    return (dt.datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
