"""Events reach readers as REST shows them, with their values as they were written."""

import json

import msgspec
import pytest
from treadle.execution.v1.execution_service_pb2 import Event, EventKind, ExecutionStatus
from treadle.type.v1.json_value_pb2 import JsonValue

from gateway import events
from mesh.event_lines import Line, write_message
from mesh.http.encode import to_json
from services.execution.engine.events import EventKind as CoreKind
from services.execution.lines import Renderer

# Key order, integers beyond 2^53 and 2^64, and white space are the author's.
_VALUE = '{"z": 1, "a":[9007199254740993,123456789012345678901234567890],"ä":"\\u00e4\\n"}'
_EXECUTION = "0199c0de-0000-7000-8000-000000000001"
_NODES = (("first", "block-a"), ('a "second"', "block-b"))
_LINES = [
    Line(CoreKind.EXECUTION_QUEUED, 1_763_896_000_000_000),
    Line(CoreKind.NODE_STARTED, 1_763_896_000_123_456, 0, 1, 2, value=msgspec.Raw(_VALUE.encode())),
    Line(CoreKind.NODE_OUTPUT, 1_763_896_000_500_000, 0, 1, 2, 7, 'pin "x"'),
    Line(CoreKind.NODE_OUTPUT, 1_763_896_000_500_001, 0, 0, 2, 7, "pin", msgspec.Raw(b"70000"), ref="ab" * 32),
    Line(CoreKind.NODE_FAILED, 1_763_896_001_000_001, 0, 1, 2, error='said "no"'),
    Line(CoreKind.EXECUTION_COMPLETED, 1_763_896_002_000_000),
]


def test_an_event_of_the_bus_reads_as_rest_shows_it() -> None:
    found = events.decode(write_message(_EXECUTION, 3, _NODES, _LINES))
    shown = list(Renderer(_EXECUTION, _NODES).proto(3, _LINES))
    assert [json.loads(event.text) for event in found] == [json.loads(to_json(event)) for event in shown]
    assert [list(json.loads(event.text)) for event in found] == [list(json.loads(to_json(event))) for event in shown]
    assert f'"value":{_VALUE}' in found[1].text
    assert [(event.seq, event.is_last) for event in found] == [(3, False), (4, False), (5, False), (6, False), (7, False), (8, True)]


def test_events_that_are_known_are_left_out() -> None:
    message = write_message(_EXECUTION, 3, _NODES, _LINES)
    assert [event.seq for event in events.decode(message, 6)] == [7, 8]
    assert events.decode(message, 8) == []


@pytest.mark.parametrize("kind", list(CoreKind))
def test_terminal_events_are_known(kind: CoreKind) -> None:
    (event,) = events.decode(write_message(_EXECUTION, 1, _NODES, [Line(kind, 1)]))
    assert event.is_last == kind.is_terminal
    assert events.text_of(Event(seq=1, kind=int(kind))).is_last == kind.is_terminal  # type: ignore[arg-type]


def test_a_message_that_cannot_be_read_counts_as_lost() -> None:
    for message in (b"", b"{}", b'[{"kind":"x"}]', b"[1]"):
        assert events.decode(message) == []


@pytest.mark.parametrize("time_us", [0, 1, 1000, 1_763_896_000_123_000, 1_763_896_000_000_000, 1_763_896_000_000_010])
def test_times_are_written_as_proto_json_does(time_us: int) -> None:
    event = Event()
    event.time.FromMicroseconds(time_us)
    assert events.time_text(time_us) == event.time.ToJsonString()


def test_an_event_from_grpc_keeps_the_text_of_its_value() -> None:
    event = Event(
        seq=2,
        execution_id="e",
        kind=EventKind.EVENT_KIND_NODE_OUTPUT,
        value=JsonValue(json=_VALUE),
        status=ExecutionStatus.EXECUTION_STATUS_RUNNING,
    )
    found = events.text_of(event)
    assert (found.seq, found.is_last) == (2, False)
    assert f'"value":{_VALUE}' in found.text
    assert json.loads(found.text)["status"] == "EXECUTION_STATUS_RUNNING"
