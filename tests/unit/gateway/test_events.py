"""Events pass through untouched."""

import json

import msgspec
import pytest
from treadle.execution.v1.execution_service_pb2 import Event, EventKind, ExecutionStatus
from treadle.type.v1.json_value_pb2 import JsonValue

from gateway import events

# Key order, integers beyond 2^53 and 2^64, and white space are the author's.
_VALUE = '{"z": 1, "a":[9007199254740993,123456789012345678901234567890],"ä":"\\u00e4\\n"}'


def test_the_text_of_a_bus_message_is_cut_not_parsed_and_printed_anew() -> None:
    first = '{"seq":3,"kind":"EVENT_KIND_NODE_OUTPUT","value":' + _VALUE + "}"
    last = '{"kind":"EVENT_KIND_EXECUTION_COMPLETED", "seq":4}'
    found = events.decode(f"[{first}, {last}]".encode())
    assert [(event.seq, event.is_last, event.text) for event in found] == [(3, False, first), (4, True, last)]


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "TERMINATED"])
def test_terminal_events_are_known(kind: str) -> None:
    assert events.event_text(f'{{"seq":1,"kind":"EVENT_KIND_EXECUTION_{kind}"}}').is_last


@pytest.mark.parametrize("kind", ["EXECUTION_QUEUED", "EXECUTION_REVIEW", "NODE_COMPLETED", "NODE_FAILED", "NODE_TERMINATED"])
def test_other_events_are_not_terminal(kind: str) -> None:
    assert not events.event_text(f'{{"seq":1,"kind":"EVENT_KIND_{kind}"}}').is_last


def test_a_message_that_is_no_array_of_events_is_refused() -> None:
    for message in (b"", b"{}", b'[{"kind":"x"}]', b"[1]"):
        with pytest.raises(msgspec.DecodeError):
            events.decode(message)


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
