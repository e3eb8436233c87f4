"""What may be said on the WebSocket, and what is answered."""

import json

import pytest

from gateway import frames
from gateway.frames import Ping, Subscribe, Unsubscribe
from mesh.errors import InvalidArgumentError, NotFoundError


def test_commands_are_read() -> None:
    assert frames.parse('{"id":"1","method":"subscribe","execution_id":"e","after_seq":7}') == Subscribe("1", "e", "", 7)
    assert frames.parse('{"method":"subscribe","graph_id":"g","id":"2"}') == Subscribe("2", "", "g", 0)
    assert frames.parse('{"id":"3","method":"unsubscribe","channel":"graph:g"}') == Unsubscribe("graph:g", "3")
    assert frames.parse('{"id":"4","method":"ping"}') == Ping("4")


@pytest.mark.parametrize(
    ("text", "field", "word"),
    [
        ("", "", "Not a command"),
        ("{", "", "Not a command"),
        ("[]", "", "array"),
        ("null", "", "null"),
        ("{}", "", "method"),
        ('{"method":"sing"}', "method", "sing"),
        ('{"method":1}', "method", "str"),
        ('{"method":"subscribe","execution_id":3}', "execution_id", "int"),
        ('{"method":"subscribe","execution_id":"e","after_seq":-1}', "after_seq", "0"),
        ('{"method":"subscribe","execution_id":"e","after_seq":1.5}', "after_seq", "float"),
        ('{"method":"subscribe","execution_id":"e","after_seq":99999999999}', "after_seq", "2147483647"),
        ('{"method":"subscribe","execution_id":"e","seq":1}', "", "seq"),
        ('{"method":"subscribe"}', "execution_id", "one of the two"),
        ('{"method":"subscribe","execution_id":"e","graph_id":"g"}', "execution_id", "one of the two"),
        ('{"method":"subscribe","graph_id":"g","after_seq":1}', "after_seq", "after_seq"),
        ('{"method":"unsubscribe"}', "", "channel"),
        ('{"method":"ping","id":"' + "x" * 101 + '"}', "id", "100"),
        ('{"method":"ping","id":"' + "x" * 20_000 + '"}', "", "16384"),
        ('{"method":"ping"} {"method":"ping"}', "", "Not a command"),
    ],
)
def test_what_is_no_command_is_refused_with_the_reason(text: str, field: str, word: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        frames.parse(text)
    assert caught.value.reason == "FRAME_INVALID"
    assert word in caught.value.message
    assert [violation.field for violation in caught.value.violations] == ([field] if field else [])


def test_the_id_of_a_bad_frame_is_found_where_there_is_one() -> None:
    assert frames.id_of('{"id":"7","method":"sing"}') == "7"
    assert [frames.id_of(text) for text in ("", "{", "[]", '{"id":7}', '{"method":"x"}', "x" * 20_000)] == [""] * 6


def test_answers_are_what_the_interface_says() -> None:
    assert json.loads(frames.subscribed("1", "execution:e", 17)) == {
        "id": "1",
        "type": "subscribed",
        "channel": "execution:e",
        "last_seq": 17,
    }
    assert json.loads(frames.subscribed("1", "graph:g")) == {"id": "1", "type": "subscribed", "channel": "graph:g"}
    assert json.loads(frames.unsubscribed("1", "c")) == {"id": "1", "type": "unsubscribed", "channel": "c"}
    assert json.loads(frames.pong("4")) == {"id": "4", "type": "pong"}
    assert json.loads(frames.ended("c")) == {"type": "ended", "channel": "c"}
    assert json.loads(frames.event_head("execution:e") + '{"seq":1}}') == {
        "type": "event",
        "channel": "execution:e",
        "event": {"seq": 1},
    }


def test_an_error_has_the_shape_of_rest() -> None:
    frame = json.loads(frames.failed(NotFoundError("No such execution.", reason="EXECUTION_NOT_FOUND"), "1"))
    assert (frame["id"], frame["type"]) == ("1", "error")
    assert frame["error"]["code"] == 5
    assert frame["error"]["message"] == "No such execution."
    assert frame["error"]["details"][0]["reason"] == "EXECUTION_NOT_FOUND"
    assert "id" not in json.loads(frames.failed(NotFoundError("x")))
