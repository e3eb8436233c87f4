"""How events are written: the journal keeps them exactly, readers see them in full."""

from hashlib import sha256

import pytest
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh.event_lines import read_message, write_message
from services.execution.engine.events import NO_FIRING, Event, EventKind
from services.execution.lines import Line, Renderer, line_of, read_row, resolved, set_apart, write_row
from services.execution.messages import events_of

EXECUTION_ID = "0199c0de-0000-7000-8000-000000000001"
NAMES = (("first", "block-a"), ("second", "block-b"))
EVENTS = [
    Event(EventKind.EXECUTION_QUEUED, 1_763_896_000_000_000),
    Event(EventKind.NODE_STARTED, 1_763_896_000_123_456, 3, 1, value={"b": 1, "a": [None, 2**70, "ü\n"]}),
    Event(EventKind.NODE_OUTPUT, 1_763_896_000_500_000, 3, 7, "pin", None),
    Event(EventKind.NODE_FAILED, 1_763_896_001_000_001, 3, error='said "no"'),
]


def lines() -> list[Line]:
    """The events as lines, those of the firing as the second of the second node."""
    return [line_of(event, -1 if event.firing == NO_FIRING else 1, 0 if event.firing == NO_FIRING else 2) for event in EVENTS]


def test_a_row_gives_back_the_events() -> None:
    assert [line.event for line in read_row(write_row(lines()))] == EVENTS


def test_a_null_output_is_shown_and_a_missing_value_is_not() -> None:
    shown = list(Renderer(EXECUTION_ID, NAMES).proto(5, lines()))
    assert [event.seq for event in shown] == [5, 6, 7, 8]
    assert [event.HasField("value") for event in shown] == [False, True, True, False]
    assert shown[2].value.json == "null"
    assert shown[3].error == 'said "no"'
    assert shown[0].node_execution_id == ""
    assert (shown[1].node_id, shown[1].block_id) == ("second", "block-b")


def test_the_bus_and_the_journal_tell_the_same() -> None:
    shown = list(Renderer(EXECUTION_ID, NAMES).proto(1, lines()))
    message = read_message(write_message(EXECUTION_ID, 1, NAMES, lines()))
    assert message.nodes == {1: NAMES[1]}
    assert events_of(message) == shown
    assert events_of(message, 2) == shown[2:]
    assert events_of(message, 4) == []


def test_a_message_knows_whether_anything_comes_after_it() -> None:
    end = Line(int(EventKind.EXECUTION_FAILED), 1)
    assert read_message(write_message(EXECUTION_ID, 1, NAMES, [*lines(), end])).is_end
    assert not read_message(write_message(EXECUTION_ID, 1, NAMES, lines())).is_end


@pytest.mark.parametrize("payload", [b"", b"{}", b'[{"seq":1,"kind":"EVENT_KIND_NODE_OUTPUT"}]', b"[1]"])
def test_a_message_of_another_version_counts_as_lost(payload: bytes) -> None:
    message = read_message(payload)
    assert (events_of(message), message.is_end) == ([], False)


def test_values_keep_their_text() -> None:
    started = list(Renderer(EXECUTION_ID, NAMES).proto(1, lines()))[1]
    assert started.value.json == '{"b":1,"a":[null,1180591620717411303424,"ü\\n"]}'
    assert started.kind == pb.EVENT_KIND_NODE_STARTED
    assert started.status == pb.EXECUTION_STATUS_RUNNING


def test_a_value_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises((TypeError, ValueError)):
        line_of(Event(EventKind.NODE_OUTPUT, 1, 0, 0, "pin", "\ud800"), 0, 0)


def test_a_value_kept_apart_is_told_by_its_hash_and_comes_back_whole() -> None:
    whole = line_of(Event(EventKind.NODE_OUTPUT, 1, 3, 0, "pin", {"z": "ü" * 40_000, "a": 2**70}), 1, 2)
    lean, content = set_apart(whole)
    assert len(write_row([lean])) < 200
    assert (lean.ref, bytes(lean.value)) == (sha256(content.encode()).hexdigest(), str(len(content.encode())).encode())
    (read,) = read_row(write_row([lean]))
    assert resolved(read, {lean.ref: content}).event == whole.event
    renderer = Renderer(EXECUTION_ID, NAMES)
    (shown,) = renderer.proto(1, [lean])
    assert not shown.HasField("value")
    assert (shown.value_ref.sha256, shown.value_ref.size_bytes) == (lean.ref, len(content.encode()))
    assert events_of(read_message(write_message(EXECUTION_ID, 1, NAMES, [lean]))) == [shown]


def test_a_journal_written_before_values_were_kept_apart_is_read() -> None:
    (line,) = read_row('[[9,5,3,1,2,0,"pin",{"a":1},""]]')
    assert line.event == Event(EventKind.NODE_OUTPUT, 5, 3, 0, "pin", {"a": 1})
