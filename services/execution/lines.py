"""Events of the core as lines (`mesh.event_lines`), lines as rows of the journal and as messages for callers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import event_lines, jsontext
from mesh.event_lines import NO_VALUE, STATUS, WITH_VALUE, EventIds
from services.execution.engine.events import Event, EventKind
from services.execution.engine.status import Status

_KINDS = {int(kind): kind for kind in EventKind}
_STATUS = {kind: Status(STATUS[int(kind)]) for kind in EventKind}

# A value whose JSON text is longer is kept beside the journal, and events refer to it.
MAX_INLINE_BYTES = 64 * 1024


class Line(event_lines.Line, array_like=True, gc=False):
    """One event as the journal keeps it. With a `ref` the value is kept elsewhere: `resolved` puts it in, which the core needs."""

    @property
    def event(self) -> Event:
        """The event as the core folds it; only of lines that hold their value."""
        value = jsontext.loads(bytes(self.value)) if self.kind in WITH_VALUE else None
        return Event(_KINDS[self.kind], self.time_us, self.firing, self.ordinal, self.pin, value, self.error)


_ROW = msgspec.json.Decoder(list[Line])
_WRITER = msgspec.json.Encoder()


def line_of(event: Event, node: int, nth: int) -> Line:
    """The line of an event; `node` and `nth` say whose firing it is of. Raises TypeError or ValueError for values that JSON cannot hold."""
    value = msgspec.Raw(jsontext.encode(event.value)) if event.kind in WITH_VALUE else NO_VALUE
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


class Renderer(EventIds):
    """Writes the events of one execution in full, for callers."""

    def proto(self, first_seq: int, lines: Sequence[event_lines.Line]) -> Iterator[pb.Event]:
        """The events as messages."""
        for seq, line in enumerate(lines, first_seq):
            node_id, block_id, firing = self.of(line)
            message = pb.Event(
                seq=seq,
                execution_id=self.execution_id,
                kind=line.kind,  # type: ignore[arg-type]  # same numbers
                time=timestamp(line.time_us),
                node_id=node_id,
                node_execution_id=firing,
                block_id=block_id,
                pin=line.pin,
                ordinal=line.ordinal,
                status=STATUS[line.kind],
                error=line.error,
            )
            if line.ref:
                message.value_ref.CopyFrom(ref_message(line))
            elif line.kind in WITH_VALUE:
                message.value.json = bytes(line.value).decode()
            yield message


def ref_message(line: event_lines.Line) -> pb.ValueRef:
    """Where the value of a line with a `ref` is kept."""
    return pb.ValueRef(sha256=line.ref, size_bytes=int(bytes(line.value)))


def status_after(kind: EventKind) -> Status:
    """Status of the execution, or of the firing for its events, after an event."""
    return _STATUS[kind]


def timestamp(time_us: int) -> Timestamp:
    """Microseconds since 1970 UTC as a message."""
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1000)
