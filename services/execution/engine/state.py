"""What is known about a run: the fold over its journal. `fold` changes it event by event, with `dataflow` for what values do."""

from collections import deque
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from mesh.errors import InternalError
from mesh.ids import firing_id
from services.execution.engine.gather import NO_ORIGINS, Gathering
from services.execution.engine.plan import Node, Plan
from services.execution.engine.status import Status
from services.execution.engine.waits import Course, Waiting


class JournalError(InternalError):
    """An event does not fit the state: the journal is damaged, or was written by rules other than ours."""

    default_reason = "JOURNAL_CORRUPT"


class Firing:
    """One run, planned or done, of one node.

    `arrived` holds what links brought, by sink pin. `inputs` is what the block runs with; it is set once the firing is QUEUED, and nobody
    may change it. `emitted` counts the outputs. `held` are outputs not handed on yet, since an earlier firing of the node has not ended.
    `course` is there once it has waited; `origins` (see `gather`) only where a Collect asks for them.
    """

    __slots__ = (
        "_id", "_namespace", "arrived", "attempt", "course", "emitted", "ended_us", "error", "held", "index", "inputs", "node", "ordinal",
        "origins", "outputs", "started_us", "status",
    )  # fmt: skip

    def __init__(self, namespace: bytes, index: int, node: Node, ordinal: int) -> None:
        """`index` counts the firings of the run in the order they came to be, `ordinal` those of the node. `namespace` is the id of the
        run as bytes.
        """
        self._id = ""
        self._namespace = namespace
        self.index = index
        self.node = node
        self.ordinal = ordinal
        self.status = Status.INCOMPLETE
        self.arrived: dict[str, Any] = {}
        self.inputs: Mapping[str, Any] = _NOTHING
        self.outputs: list[tuple[str, Any]] = []
        self.held: list[tuple[str, Any]] | None = None
        self.emitted = 0
        self.attempt = -1
        self.error = ""
        self.started_us = 0
        self.ended_us = 0
        self.course: Course | None = None
        self.origins = NO_ORIGINS

    @property
    def id(self) -> str:
        """Its id. Computed when it is first asked for: most blocks have no use for it."""
        if not self._id:
            self._id = firing_id(self._namespace, self.node.id, self.ordinal)
        return self._id

    @property
    def wait(self) -> Waiting | None:
        """What it waits for now."""
        return None if self.course is None else self.course.wait

    @property
    def waits(self) -> int:
        """How many waits are over; the number, from 0, of the one that goes on."""
        return 0 if self.course is None else self.course.ended

    @property
    def answers(self) -> int:
        """How many answers its block has got."""
        return 0 if self.course is None else self.course.answers

    @property
    def repeated(self) -> int:
        """How many of the outputs that its block gives next are in the journal already, from an attempt that did not get to its end."""
        return self.emitted if self.course is None else self.emitted - self.course.base

    @property
    def has_answer(self) -> bool:
        """True when its block has what it waited for, and is to run."""
        return self.course is not None and self.course.has_answer

    @property
    def answer(self) -> Any:
        """What the block is told when it runs."""
        return None if self.course is None else self.course.answer


class Lane:
    """The firings of one node.

    `waiting` are the INCOMPLETE ones in the order they came to be. Since a value goes to the first that lacks its pin, those that have a
    pin always come first, so `filled[pin]` (how many have it) is also the place of the next one that lacks it.
    `order` are those that were queued and whose outputs are not all handed on, in queue order. `remembered` is the input of the one
    queued last, where static pins are filled from; None before the first and for nodes without static pins. `gathering` is what a pin
    gathers, for nodes that do.
    """

    __slots__ = ("created", "filled", "gathering", "mask", "node", "order", "remembered", "waiting")

    def __init__(self, node: Node, mask: Mapping[str, Any]) -> None:
        """`mask` replaces constants and arrived values of every firing."""
        self.node = node
        self.mask = mask
        self.created = 0
        self.waiting: deque[Firing] = deque()
        self.filled: dict[str, int] = dict.fromkeys(node.linked, 0)
        self.order: deque[Firing] = deque()
        self.remembered: Mapping[str, Any] | None = None
        self.gathering = None if node.gather is None else Gathering(node.gather)

    def leave_waiting(self, firing: Firing) -> None:
        """Takes a firing that became ready out of `waiting`, where it is nearly always the first or, freed by a static value, the last."""
        if self.waiting[0] is firing:
            self.waiting.popleft()
        elif self.waiting[-1] is firing:
            self.waiting.pop()
        else:
            self.waiting.remove(firing)
        for pin in firing.arrived:
            self.filled[pin] -= 1


class State:
    """A run at one moment. `firings` (by index) holds all firings, or, without history, those that may still change.

    `open_count` counts firings that are QUEUED or RUNNING, `review_count` those in REVIEW, `waiting_count` those WAITING: the run is over
    when there are none of these. `waiting` are the firings of the latter two by index, `auto_approved` the nodes (by place in the graph)
    whose reviews are decided in advance. `nested_count` counts firings of child runs that ended, `nested_failed_count` those that failed.
    `node_time_us` is work only, of all attempts. `paused_us` is how long the run was
    parked so far; a pause begins at `idle_us`, the newest event since which nothing was at work. `results` are the run's outputs
    `(name, value)` in queue order, `handed_up` what a parent run gets of them, in the order it was emitted. Times are microseconds since
    1970 UTC.
    """

    __slots__ = (
        "_namespace",
        "auto_approved",
        "emission_count",
        "ended_count",
        "ended_us",
        "error",
        "failed_count",
        "firings",
        "handed_up",
        "idle_us",
        "keeps_history",
        "lanes",
        "nested_count",
        "nested_failed_count",
        "next_index",
        "node_time_us",
        "open_count",
        "paused_us",
        "plan",
        "results",
        "review_count",
        "started_us",
        "status",
        "waiting",
        "waiting_count",
    )  # fmt: skip

    def __init__(
        self, plan: Plan, execution_id: str, masks: Mapping[str, Mapping[str, Any]] | None = None, *, keeps_history: bool = True
    ) -> None:
        """`masks` replace values, by node id and pin. Without `keeps_history` firings are forgotten once nothing depends on them."""
        self.plan = plan
        self.keeps_history = keeps_history
        self.lanes = [Lane(node, (masks or {}).get(node.id, _NOTHING)) for node in plan.nodes]
        self.firings: dict[int, Firing] = {}
        self.results: list[tuple[str, Any]] = []
        self.handed_up: list[tuple[str, Any]] = []
        self.status = Status.QUEUED
        self.error = ""
        self.next_index = 0
        self.open_count = 0
        self.review_count = 0
        self.waiting_count = 0
        self.waiting: dict[int, Firing] = {}
        self.auto_approved: set[int] = set()
        self.nested_count = 0
        self.nested_failed_count = 0
        self.idle_us = 0
        self.paused_us = 0
        self.ended_count = 0
        self.failed_count = 0
        self.emission_count = 0
        self.node_time_us = 0
        self.started_us = 0
        self.ended_us = 0
        self._namespace = UUID(execution_id).bytes

    def new_firing(self, lane: Lane) -> Firing:
        """A firing of the lane's node, not in any queue yet."""
        firing = Firing(self._namespace, self.next_index, lane.node, lane.created)
        self.firings[firing.index] = firing
        self.next_index += 1
        lane.created += 1
        return firing

    def firing(self, index: int) -> Firing:
        """The firing an event speaks of. Raises JournalError when there is none."""
        try:
            return self.firings[index]
        except KeyError:
            raise JournalError(f"there is no firing {index}") from None

    def forget(self, firing: Firing) -> None:
        """Drops an ended firing whose outputs are all handed on."""
        del self.firings[firing.index]


_NOTHING: Mapping[str, Any] = {}
