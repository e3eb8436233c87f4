"""Events of executions as JSON text, as REST shows them: made of bus messages, or of what the services answer."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson
from treadle.execution.v1.execution_service_pb2 import Event, EventKind, ExecutionStatus

from mesh.event_lines import LAST_KINDS, STATUS, WITH_VALUE, EventIds, Line, read_message
from mesh.http.encode import to_json


@dataclass(frozen=True, slots=True)
class EventText:
    """One event. `text` is its JSON, as REST shows it, ready to pass on."""

    seq: int
    is_last: bool
    text: str


_KIND_NAMES: dict[int, str] = {number: name for name, number in EventKind.items()}
# How an event of a kind begins, and how it goes on behind its value.
_KIND_TEXT = {
    kind: (f'"kind":"{_KIND_NAMES[kind]}",'.encode(), f',"status":"{ExecutionStatus.Name(status)}","error":'.encode())
    for kind, status in STATUS.items()
}


def decode(message: bytes, after_seq: int = 0) -> Sequence[EventText]:
    """The events after a seq of a bus message; none of one that cannot be read."""
    found = read_message(message)
    first_seq, lines = found.after(after_seq)
    if not lines:
        return []
    ids = EventIds(found.execution_id, found.nodes)
    return [EventText(seq, line.kind in LAST_KINDS, _text(ids, seq, line).decode()) for seq, line in enumerate(lines, first_seq)]


def text_of(event: Event) -> EventText:
    """An event from a gRPC message; its value keeps its text."""
    return EventText(event.seq, event.kind in LAST_KINDS, to_json(event).decode())


def _text(ids: EventIds, seq: int, line: Line) -> bytes:
    """Put together by hand: every event that somebody watches passes here, and this takes a third of the time."""
    node_id, block_id, firing = ids.of(line)
    kind, status = _KIND_TEXT[line.kind]
    value = b',"value":%b' % bytes(line.value) if line.kind in WITH_VALUE and not line.ref else b""
    ref = b',"value_ref":{"sha256":"%b","size_bytes":%b}' % (line.ref.encode(), bytes(line.value)) if line.ref else b""
    return (
        b'{"seq":%d,"execution_id":"%b",%b"time":"%b","node_id":%b,"node_execution_id":"%b","block_id":%b,"pin":%b,"ordinal":%d%b%b%b%b}'
        % (
            seq,
            ids.execution_id.encode(),
            kind,
            time_text(line.time_us).encode(),
            _name(node_id),
            firing.encode(),
            _name(block_id),
            _name(line.pin),
            line.ordinal,
            value,
            status,
            orjson.dumps(line.error) if line.error else b'""',
            ref,
        )
    )


def time_text(time_us: int) -> str:
    """As proto JSON writes timestamps: RFC 3339 with 0, 3 or 6 digits."""
    seconds, micros = divmod(time_us, 1_000_000)
    if not micros:
        return f"{_second_text(seconds)}Z"
    if micros % 1000:
        return f"{_second_text(seconds)}.{micros:06d}Z"
    return f"{_second_text(seconds)}.{micros // 1000:03d}Z"


@lru_cache(maxsize=4096)
def _name(name: str) -> bytes:
    return orjson.dumps(name)


@lru_cache(maxsize=64)
def _second_text(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
