"""Messages to JSON and back."""

import json
from typing import Any, cast

import pytest
from buf.validate import validate_pb2
from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle.block.v1 import block_service_pb2 as block
from treadle.execution.v1 import execution_service_pb2 as execution
from treadle.graph.v1 import graph_service_pb2 as graph
from treadle.type.v1.json_value_pb2 import JsonValue
from treadle.user.v1 import user_service_pb2 as user

from mesh.contract import methods
from mesh.errors import TreadleError
from mesh.http.decode import body_reader
from mesh.http.encode import to_json
from tests.unit.mesh.http.messages import JSON_TEXTS, messages

TYPES = sorted(
    {method.request_descriptor.full_name: method.request_descriptor for method in methods().values()}.items()
    | {method.response_descriptor.full_name: method.response_descriptor for method in methods().values()}.items(),
    key=lambda item: item[0],
)
# Types with forms that the contracts do not use yet.
OTHERS = [
    ("StringRules", validate_pb2.StringRules.DESCRIPTOR),
    ("Int64Rules", validate_pb2.Int64Rules.DESCRIPTOR),
    ("RetryInfo", cast(Descriptor, error_details_pb2.RetryInfo.DESCRIPTOR)),
]


def read(descriptor: Any, text: bytes | str, body: str = "*") -> Message:
    """The message that a body makes."""
    reader = body_reader(descriptor, body)
    assert reader is not None
    kind: Any = GetMessageClass(descriptor)
    message: Message = kind(**reader(text.encode() if isinstance(text, str) else text))
    return message


@pytest.mark.parametrize(("name", "descriptor"), [*TYPES, *OTHERS])
def test_what_is_written_reads_back_the_same(name: str, descriptor: Descriptor) -> None:
    @settings(max_examples=15, deadline=None, database=None)
    @given(messages(descriptor))
    def check(message: Message) -> None:
        text = to_json(message)
        json.loads(text)
        assert read(descriptor, text) == message

    check()


@settings(max_examples=60, deadline=None, database=None)
@given(JSON_TEXTS)
def test_json_values_come_back_letter_by_letter(text: str) -> None:
    message = cast(Any, read(graph.ImportGraphRequest.DESCRIPTOR, text, "document"))
    assert message.document.json == text
    nested = cast(Any, read(block.PinValue.DESCRIPTOR, f'{{"value": {text} }}'))
    assert nested.value.json == text


HOSTILE = [
    "", "null", "[]", "0", '""', "true", "{", "}", '{"a"}', '{"a":}', "{'a':1}", '{"a":1,}', "[1,]", "NaN", "-", "01", "1.", ".5", "1e",
    '"\\x"', '"\\u12"', '"\\ud800"', '"\\ud800\\u0041"', "\x00", "/**/{}", '{"graph_id":1e400}', '{"graph_id":' + "1" * 5000 + "}",
    '{"graph_id":null}', '{"inputs":null}', '{"inputs":{"a":null}}', '{"inputs":[]}', '{"inputs":{"a":' + "9" * 5000 + "}}",
    '{"inputs":{"a":' + "[" * 200 + "]" * 200 + "}}", "[" * 100000, '{"a":' * 5000, '{"graph_version":1.0}', '{"graph_version":1e0}',
    '{"graph_version":"1"}', '{"graph_version":true}', '{"graph_version":2147483648}', '{"dry_run":1}', '{"dry_run":"true"}',
    '{"__class__":1}', '{"graph_id":{}}', '{"":1}', '{"graph_id":"a","graph_id":"b"}', '{"graphId":"a"}', '{"inputs":{"":1}}',
]  # fmt: skip


@pytest.mark.parametrize("body", ["*", "inputs", "graph_id", "graph_version"])
def test_hostile_text_gives_a_message_or_a_typed_error(body: str) -> None:
    reader = body_reader(execution.CreateExecutionRequest.DESCRIPTOR, body)
    assert reader is not None
    for text in [item.encode() for item in HOSTILE] + [b"\xff", b'"\xc3"', b'{"inputs":{"a":"\xed\xa0\x80"}}', b"\xef\xbb\xbf{}"]:
        try:
            execution.CreateExecutionRequest(**reader(text))
        except TreadleError:
            continue


@settings(max_examples=200, deadline=None, database=None)
@given(st.binary(max_size=60) | st.text('{}[]":,\\u0123456789eE+-.truefalsn \n', max_size=40).map(str.encode))
def test_random_bytes_give_a_message_or_a_typed_error(text: bytes) -> None:
    for descriptor in (graph.CreateGraphRequest.DESCRIPTOR, execution.CreateExecutionRequest.DESCRIPTOR, user.UpdateMeRequest.DESCRIPTOR):
        try:
            read(descriptor, text)
        except TreadleError:
            continue


def test_of_duplicate_keys_the_last_one_wins() -> None:
    assert read(execution.CreateExecutionRequest.DESCRIPTOR, '{"graph_id":"a","graph_id":"b"}') == execution.CreateExecutionRequest(
        graph_id="b"
    )


def test_null_is_absent_except_for_json_values() -> None:
    message = cast(Any, read(block.ExecuteBlockRequest.DESCRIPTOR, '{"block_id":null,"inputs":null}'))
    assert message == block.ExecuteBlockRequest(inputs=JsonValue(json="null"))


def test_fields_without_presence_are_printed_and_unset_ones_are_not() -> None:
    assert json.loads(to_json(graph.Node(id="n"))) == {"id": "n", "block_id": ""}
    shown = json.loads(to_json(execution.Execution()))
    assert shown["status"] == "EXECUTION_STATUS_UNSPECIFIED"
    assert shown["inputs"] == {}
    assert "stats" not in shown
    assert "create_time" not in shown


def test_maps_are_sorted_and_empty_json_values_in_them_are_null() -> None:
    message = execution.Execution(inputs={"b": JsonValue(json="2"), "a": JsonValue()})
    assert b'"inputs":{"a":null,"b":2}' in to_json(message)


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("2026-11-23T12:00:00.5+01:00", 1795431600, 500_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1, 999_999_999),
        ("0001-01-01T00:00:00Z", -62135596800, 0),
    ],
)
def test_times(text: str, seconds: int, nanos: int) -> None:
    message = cast(Any, read(graph.Graph.DESCRIPTOR, json.dumps({"create_time": text})))
    assert (message.create_time.seconds, message.create_time.nanos) == (seconds, nanos)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:00", "2026-01-01T24:30:00Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(TreadleError, match="create_time: must be an RFC 3339 time"):
        read(graph.Graph.DESCRIPTOR, json.dumps({"create_time": text}))


def test_enums_go_by_name_or_number() -> None:
    for value in ('"EXECUTION_STATUS_FAILED"', "7"):
        assert cast(Any, read(execution.Event.DESCRIPTOR, f'{{"status":{value}}}')).status == execution.EXECUTION_STATUS_FAILED
    with pytest.raises(TreadleError, match="status: must be one of EXECUTION_STATUS_UNSPECIFIED, "):
        read(execution.Event.DESCRIPTOR, '{"status":"FAILED"}')


def test_two_fields_of_a_oneof_are_refused() -> None:
    with pytest.raises(TreadleError, match="only one of them may be set"):
        read(validate_pb2.StringRules.DESCRIPTOR, '{"email":true,"uuid":true}')


@pytest.mark.parametrize("text", ['"***"', '"YQ=a"', '"a"', "1"])
def test_bytes_are_strict(text: str) -> None:
    with pytest.raises(TreadleError, match="value: must be base64 text"):
        read(any_pb2.Any.DESCRIPTOR, f'{{"value":{text}}}')
