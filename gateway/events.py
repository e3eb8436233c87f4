"""Events of executions as JSON text: read as little of it as it takes to keep them in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

# The stream of an execution's events on the bus; a message holds a JSON array of consecutive events.
SUBJECT_ROOT = "treadle.execution"

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


def decode(message: bytes) -> Sequence[EventText]:
    """The events of a bus message."""
    return [event_text(raw) for raw in _ARRAY.decode(message)]


def subject(owner_id: str, execution_id: str = ">") -> str:
    """Where the events of an execution are published; by default, those of all executions of the owner."""
    return f"{SUBJECT_ROOT}.{owner_id}.{execution_id}"


def execution_of(subject_of_message: str) -> str:
    """The execution that a bus message is about."""
    return subject_of_message.rsplit(".", 1)[-1]
