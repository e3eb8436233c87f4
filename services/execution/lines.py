"""How events are written: short in the journal, in full for readers.

A journal row is a JSON array of lines; a line is the array `[kind, time_us, firing, node, nth, ordinal, pin, value, error, ref]`. The ids
of nodes, blocks and firings follow from the graph version and the execution, so they are not repeated in each line. A large value is kept
beside the journal, once: then `ref` is its SHA-256 and `value` its length in bytes.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import jsontext
from services.execution.engine.events import NO_FIRING, Event, EventKind
from services.execution.engine.state import firing_id
from services.execution.engine.status import Status

_STATUS: Mapping[EventKind, Status] = {
    EventKind.EXECUTION_QUEUED: Status.QUEUED,
    EventKind.EXECUTION_STARTED: Status.RUNNING,
    EventKind.EXECUTION_RESUMED: Status.RUNNING,
    EventKind.EXECUTION_REVIEW: Status.REVIEW,
    EventKind.EXECUTION_COMPLETED: Status.COMPLETED,
    EventKind.EXECUTION_FAILED: Status.FAILED,
    EventKind.EXECUTION_TERMINATED: Status.TERMINATED,
    EventKind.NODE_STARTED: Status.RUNNING,
    EventKind.NODE_OUTPUT: Status.RUNNING,
    EventKind.NODE_COMPLETED: Status.COMPLETED,
    EventKind.NODE_FAILED: Status.FAILED,
    EventKind.NODE_REVIEW: Status.REVIEW,
    EventKind.NODE_TERMINATED: Status.TERMINATED,
    EventKind.NODE_WAITING: Status.WAITING,
    EventKind.NODE_RESUMED: Status.RUNNING,
}
_KIND_TEXT = {
    int(kind): (f'"kind":"EVENT_KIND_{kind.name}",'.encode(), f',"status":"EXECUTION_STATUS_{status.name}",'.encode())
    for kind, status in _STATUS.items()
}
_FIRINGS_REMEMBERED = 256
_KINDS = {int(kind): kind for kind in EventKind}
_NO_VALUE = msgspec.Raw(b"null")
_WITH_VALUE = frozenset(
    {EventKind.NODE_STARTED, EventKind.NODE_OUTPUT, EventKind.NODE_REVIEW, EventKind.NODE_WAITING, EventKind.NODE_RESUMED}
)

# A value whose JSON text is longer is kept beside the journal, and events refer to it.
MAX_INLINE_BYTES = 64 * 1024


class Line(msgspec.Struct, array_like=True, gc=False):
    """One event as the journal keeps it. `node` is the node's place in the graph, `nth` counts the node's firings from 0.

    With a `ref` the value is kept elsewhere: `resolved` puts it in, which the core needs.
    """

    kind: int
    time_us: int
    firing: int = NO_FIRING
    node: int = -1
    nth: int = 0
    ordinal: int = 0
    pin: str = ""
    value: msgspec.Raw = _NO_VALUE
    error: str = ""
    ref: str = ""

    @property
    def event(self) -> Event:
        """The event as the core folds it; only of lines that hold their value."""
        value = jsontext.loads(bytes(self.value)) if self.kind in _WITH_VALUE else None
        return Event(_KINDS[self.kind], self.time_us, self.firing, self.ordinal, self.pin, value, self.error)


_ROW = msgspec.json.Decoder(list[Line])
_WRITER = msgspec.json.Encoder()


def line_of(event: Event, node: int, nth: int) -> Line:
    """The line of an event; `node` and `nth` say whose firing it is of. Raises TypeError or ValueError for values that JSON cannot hold."""
    value = msgspec.Raw(jsontext.dumps(event.value).encode()) if event.kind in _WITH_VALUE else _NO_VALUE
    return Line(int(event.kind), event.time_us, event.firing, node, nth, event.ordinal, event.pin, value, event.error)


def set_apart(line: Line) -> tuple[Line, str]:
    """The line with a reference in place of its value, and the value's JSON text, to be kept under the `ref` of the line."""
    content = bytes(line.value)
    lean = msgspec.structs.replace(line, value=msgspec.Raw(b"%d" % len(content)), ref=sha256(content).hexdigest())
    return lean, content.decode()


def resolved(line: Line, contents: Mapping[str, str]) -> Line:
    """The line with its value, taken by its hash from `contents` when it is kept there. Raises KeyError when it is missing."""
    if not line.ref:
        return line
    return msgspec.structs.replace(line, value=msgspec.Raw(contents[line.ref].encode()), ref="")


def write_row(lines: Sequence[Line]) -> str:
    """The text of a journal row."""
    return _WRITER.encode(lines).decode()


def read_row(events: str) -> list[Line]:
    """The lines of a journal row."""
    return _ROW.decode(events)


@dataclass(frozen=True, slots=True)
class Names:
    """What a graph version's nodes are called: (node id, block id) by place in the graph."""

    nodes: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Names":
        """The names in a graph document."""
        return cls(tuple((node["id"], node["block_id"]) for node in document.get("nodes") or ()))


class Renderer:
    """Writes the events of one execution in full, for the bus and for callers."""

    def __init__(self, execution_id: str, names: Names) -> None:
        self._execution_id = execution_id
        self._nodes = names.nodes
        self._namespace = UUID(execution_id).bytes
        self._head = b',"execution_id":"%b",' % execution_id.encode()
        # A firing has several lines, mostly close to one another.
        self._firings: dict[tuple[int, int], str] = {}

    def json(self, first_seq: int, lines: Sequence[Line]) -> Iterator[bytes]:
        """The events as REST shows them, each as JSON text; values are kept as they are written. Put together by hand: every event of every
        run passes here, and this takes a third of the time.
        """
        for seq, line in enumerate(lines, first_seq):
            node_id, block_id, firing = self._of_node(line)
            kind, status = _KIND_TEXT[line.kind]
            if line.ref:
                value = b',"value_ref":{"sha256":"%b","size_bytes":%b}' % (line.ref.encode(), bytes(line.value))
            elif line.kind in _WITH_VALUE:
                value = b',"value":%b' % bytes(line.value)
            else:
                value = b""
            yield b'{"seq":%d%b%b"time":"%b","node_id":%b,"node_execution_id":"%b","block_id":%b,"pin":%b,"ordinal":%d%b%b"error":%b}' % (
                seq,
                self._head,
                kind,
                time_text(line.time_us).encode(),
                _text(node_id),
                firing.encode(),
                _text(block_id),
                _text(line.pin),
                line.ordinal,
                value,
                status,
                orjson.dumps(line.error) if line.error else b'""',
            )

    def proto(self, first_seq: int, lines: Sequence[Line]) -> Iterator[pb.Event]:
        """The events as messages."""
        for seq, line in enumerate(lines, first_seq):
            node_id, block_id, firing = self._of_node(line)
            message = pb.Event(
                seq=seq,
                execution_id=self._execution_id,
                kind=line.kind,  # type: ignore[arg-type]  # same numbers
                time=timestamp(line.time_us),
                node_id=node_id,
                node_execution_id=firing,
                block_id=block_id,
                pin=line.pin,
                ordinal=line.ordinal,
                status=int(_STATUS[_KINDS[line.kind]]),  # type: ignore[arg-type]
                error=line.error,
            )
            if line.ref:
                message.value_ref.CopyFrom(ref_message(line))
            elif line.kind in _WITH_VALUE:
                message.value.json = bytes(line.value).decode()
            yield message

    def firing(self, node: int, nth: int) -> tuple[str, str, str]:
        """The ids of a node by its place in the graph, of its block, and of its firing number `nth`, from 0."""
        node_id, block_id = self._nodes[node]
        firing = self._firings.get((node, nth))
        if firing is None:
            if len(self._firings) >= _FIRINGS_REMEMBERED:
                self._firings.clear()
            firing = self._firings[node, nth] = firing_id(self._namespace, node_id, nth)
        return node_id, block_id, firing

    def _of_node(self, line: Line) -> tuple[str, str, str]:
        return ("", "", "") if line.node < 0 else self.firing(line.node, line.nth)


def ref_message(line: Line) -> pb.ValueRef:
    """Where the value of a line with a `ref` is kept."""
    return pb.ValueRef(sha256=line.ref, size_bytes=int(bytes(line.value)))


def status_after(kind: EventKind) -> Status:
    """Status of the execution, or of the firing for its events, after an event."""
    return _STATUS[kind]


def timestamp(time_us: int) -> Timestamp:
    """Microseconds since 1970 UTC as a message."""
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1000)


def time_text(time_us: int) -> str:
    """As proto JSON writes timestamps: RFC 3339 with 0, 3 or 6 digits."""
    seconds, micros = divmod(time_us, 1_000_000)
    if not micros:
        return f"{_second_text(seconds)}Z"
    if micros % 1000:
        return f"{_second_text(seconds)}.{micros:06d}Z"
    return f"{_second_text(seconds)}.{micros // 1000:03d}Z"


def time_of(text: str) -> int:
    """Microseconds since 1970 UTC of what `time_text` wrote."""
    fraction = text[20:-1]
    return _seconds_of(text[:19]) * 1_000_000 + (int(fraction.ljust(6, "0")) if fraction else 0)


@lru_cache(maxsize=4096)
def _text(name: str) -> bytes:
    return orjson.dumps(name)


@lru_cache(maxsize=64)
def _seconds_of(text: str) -> int:
    return int(dt.datetime.fromisoformat(f"{text}+00:00").timestamp())


@lru_cache(maxsize=64)
def _second_text(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
