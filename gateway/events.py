"""Events of executions as JSON text: read as little of it as it takes to keep them in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from treadle.execution.v1.execution_service_pb2 import Event

from mesh.http.encode import to_json

_LAST_KINDS = frozenset({"EVENT_KIND_EXECUTION_COMPLETED", "EVENT_KIND_EXECUTION_FAILED", "EVENT_KIND_EXECUTION_TERMINATED"})


@dataclass(frozen=True, slots=True)
class EventText:
    """One event. `text` is its JSON, as REST shows it, ready to pass on."""

    seq: int
    is_last: bool
    text: str


class _Head(msgspec.Struct):
    seq: int
    kind: str


_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_HEAD = msgspec.json.Decoder(_Head)


def event_text(text: bytes | str | msgspec.Raw) -> EventText:
    """An event from its JSON text; the text itself is kept as it is."""
    head = _HEAD.decode(text)
    raw = text if isinstance(text, str) else bytes(text).decode()
    return EventText(head.seq, head.kind in _LAST_KINDS, raw)


def decode(message: bytes, after_seq: int = 0) -> Sequence[EventText]:
    """The events after a seq of a bus message: a JSON array of consecutive ones."""
    raws = _ARRAY.decode(message)
    first_seq = _HEAD.decode(raws[0]).seq if raws else 0
    return [event_text(raw) for raw in raws[max(0, after_seq + 1 - first_seq) :]]


def text_of(event: Event) -> EventText:
    """An event from a gRPC message; its value keeps its text."""
    return event_text(to_json(event))
