"""Events of executions in short, as the journal keeps them and the bus carries them. Readers write the whole event of it.

A line is the array `[kind, time_us, firing, node, nth, ordinal, pin, value, error, ref]`. The ids of nodes, blocks and firings follow from
the graph version and the execution, so they are not repeated in each line. A large value is kept beside the journal, once: then `ref` is
its SHA-256 and `value` its length in bytes.

A bus message is the array `[execution_id, seq, nodes, lines]`: consecutive events from `seq` on, and what the nodes are called that they
speak of, so that readers need nobody else.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

import msgspec
from treadle.execution.v1.execution_service_pb2 import EventKind, ExecutionStatus

from mesh.ids import firing_id

# Node id and block id, by the node's place in the graph.
NodeNames: TypeAlias = Mapping[int, tuple[str, str]] | Sequence[tuple[str, str]]

# What an execution is after an event, or the firing that the event speaks of.
STATUS: Mapping[int, "ExecutionStatus.ValueType"] = {
    EventKind.EVENT_KIND_EXECUTION_QUEUED: ExecutionStatus.EXECUTION_STATUS_QUEUED,
    EventKind.EVENT_KIND_EXECUTION_STARTED: ExecutionStatus.EXECUTION_STATUS_RUNNING,
    EventKind.EVENT_KIND_EXECUTION_RESUMED: ExecutionStatus.EXECUTION_STATUS_RUNNING,
    EventKind.EVENT_KIND_EXECUTION_REVIEW: ExecutionStatus.EXECUTION_STATUS_REVIEW,
    EventKind.EVENT_KIND_EXECUTION_COMPLETED: ExecutionStatus.EXECUTION_STATUS_COMPLETED,
    EventKind.EVENT_KIND_EXECUTION_FAILED: ExecutionStatus.EXECUTION_STATUS_FAILED,
    EventKind.EVENT_KIND_EXECUTION_TERMINATED: ExecutionStatus.EXECUTION_STATUS_TERMINATED,
    EventKind.EVENT_KIND_NODE_STARTED: ExecutionStatus.EXECUTION_STATUS_RUNNING,
    EventKind.EVENT_KIND_NODE_OUTPUT: ExecutionStatus.EXECUTION_STATUS_RUNNING,
    EventKind.EVENT_KIND_NODE_COMPLETED: ExecutionStatus.EXECUTION_STATUS_COMPLETED,
    EventKind.EVENT_KIND_NODE_FAILED: ExecutionStatus.EXECUTION_STATUS_FAILED,
    EventKind.EVENT_KIND_NODE_REVIEW: ExecutionStatus.EXECUTION_STATUS_REVIEW,
    EventKind.EVENT_KIND_NODE_TERMINATED: ExecutionStatus.EXECUTION_STATUS_TERMINATED,
    EventKind.EVENT_KIND_NODE_WAITING: ExecutionStatus.EXECUTION_STATUS_WAITING,
    EventKind.EVENT_KIND_NODE_RESUMED: ExecutionStatus.EXECUTION_STATUS_RUNNING,
}
# Events that have a value, be it null.
WITH_VALUE: frozenset[int] = frozenset(
    {
        EventKind.EVENT_KIND_NODE_STARTED,
        EventKind.EVENT_KIND_NODE_OUTPUT,
        EventKind.EVENT_KIND_NODE_REVIEW,
        EventKind.EVENT_KIND_NODE_WAITING,
        EventKind.EVENT_KIND_NODE_RESUMED,
    }
)
# After these nothing comes.
LAST_KINDS: frozenset[int] = frozenset(
    {
        EventKind.EVENT_KIND_EXECUTION_COMPLETED,
        EventKind.EVENT_KIND_EXECUTION_FAILED,
        EventKind.EVENT_KIND_EXECUTION_TERMINATED,
    }
)
NO_VALUE = msgspec.Raw(b"null")
_FIRINGS_REMEMBERED = 256


class Line(msgspec.Struct, array_like=True, gc=False):
    """One event. `kind` is a number of EventKind, `node` the node's place in the graph; `nth` counts the node's firings from 0. Both say
    nothing in events of the whole execution, whose `node` is negative.
    """

    kind: int
    time_us: int
    firing: int = -1
    node: int = -1
    nth: int = 0
    ordinal: int = 0
    pin: str = ""
    value: msgspec.Raw = NO_VALUE
    error: str = ""
    ref: str = ""


class Message(msgspec.Struct, array_like=True, gc=False):
    """What the bus carries. `lines` are read when they are asked for: most readers know the first ones already."""

    execution_id: str
    seq: int
    nodes: dict[int, tuple[str, str]]
    lines: list[msgspec.Raw]

    def after(self, seq: int) -> "tuple[int, list[Line]]":
        """The events after a seq, and the seq of the first of them."""
        first = max(self.seq, seq + 1)
        return first, [_LINE.decode(raw) for raw in self.lines[first - self.seq :]]

    @property
    def is_end(self) -> bool:
        """Whether nothing comes after it."""
        return bool(self.lines) and _LINE.decode(self.lines[-1]).kind in LAST_KINDS


_LINE = msgspec.json.Decoder(Line)
_MESSAGE = msgspec.json.Decoder(Message)
_WRITER = msgspec.json.Encoder()
_UNREADABLE = Message("", 0, {}, [])


def write_message(execution_id: str, seq: int, names: NodeNames, lines: Sequence[Line]) -> bytes:
    """A bus message of consecutive events from `seq` on. `names` knows all nodes that they speak of."""
    nodes = {place: names[place] for place in {line.node for line in lines} if place >= 0}
    return _WRITER.encode((execution_id, seq, nodes, lines))


def read_message(payload: bytes) -> Message:
    """What a bus message says; nothing when it cannot be read, as one of a process of another version: it counts as lost."""
    try:
        return _MESSAGE.decode(payload)
    except msgspec.DecodeError:
        return _UNREADABLE


class EventIds:
    """The ids that the lines of one execution leave out."""

    def __init__(self, execution_id: str, nodes: NodeNames) -> None:
        """`nodes` knows all nodes that are asked for."""
        self.execution_id = execution_id
        self._nodes = nodes
        self._namespace = UUID(execution_id).bytes
        # A firing has several lines, mostly close to one another.
        self._firings: dict[tuple[int, int], str] = {}

    def of(self, line: Line) -> tuple[str, str, str]:
        """The ids of node, block and firing; empty for events of the whole execution."""
        return ("", "", "") if line.node < 0 else self.firing(line.node, line.nth)

    def firing(self, node: int, nth: int) -> tuple[str, str, str]:
        """The ids of a node by its place in the graph, of its block, and of its firing number `nth`, from 0."""
        node_id, block_id = self._nodes[node]
        firing = self._firings.get((node, nth))
        if firing is None:
            if len(self._firings) >= _FIRINGS_REMEMBERED:
                self._firings.clear()
            firing = self._firings[node, nth] = firing_id(self._namespace, node_id, nth)
        return node_id, block_id, firing
