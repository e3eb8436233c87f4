"""Rules of the contracts, compiled."""

import zlib
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from treadle.auth.v1 import auth_service_pb2 as auth
from treadle.execution.v1 import execution_service_pb2 as execution
from treadle.graph.v1 import graph_service_pb2 as graph
from treadle.type.v1.json_value_pb2 import JsonValue
from treadle.user.v1 import user_service_pb2 as user

from mesh.validation import MAX_VIOLATIONS, violations

Field = descriptor_pb2.FieldDescriptorProto


def fields(message: Message) -> list[str]:
    """The paths of what is wrong."""
    return [item.field for item in violations(message)]


def rule(type_number: Any, text: str, *, is_repeated: bool = False) -> Any:
    """A message class with one field `value` that carries a rule in text format."""
    name = f"M{zlib.crc32(text.encode())}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="t", syntax="proto3")
    file.dependency.append("buf/validate/validate.proto")
    message = file.message_type.add(name=name)
    field = message.field.add(name="value", number=1, type=type_number)
    field.label = Field.LABEL_REPEATED if is_repeated else Field.LABEL_OPTIONAL
    text_format.Parse(text, field.options.Extensions[validate_pb2.field])
    pool = descriptor_pool.DescriptorPool()
    for known in (descriptor_pb2.DESCRIPTOR, validate_pb2.DESCRIPTOR):
        proto = descriptor_pb2.FileDescriptorProto()
        known.CopyToProto(proto)
        pool.Add(proto)
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))


def test_required_fields_and_lengths_have_paths() -> None:
    assert fields(graph.CreateGraphRequest()) == ["graph"]
    nodes = [graph.Node(id="a", block_id="b"), graph.Node(id="c")]
    request = graph.CreateGraphRequest(graph=graph.Graph(nodes=nodes, links=[graph.Link()]))
    assert fields(request) == [
        "graph.nodes[1].block_id",
        "graph.links[0].source_id",
        "graph.links[0].source_name",
        "graph.links[0].sink_id",
        "graph.links[0].sink_name",
    ]


def test_messages_within_themselves_are_checked_too() -> None:
    inner = graph.Graph(name="inner", nodes=[graph.Node(id="a")])
    request = graph.CreateGraphRequest(graph=graph.Graph(name="g", sub_graphs=[inner]))
    assert fields(request) == ["graph.sub_graphs[0].nodes[0].block_id"]


def test_a_valid_message_has_no_violations() -> None:
    assert violations(graph.CreateGraphRequest(graph=graph.Graph(name="g", nodes=[graph.Node(id="a", block_id="b")]))) == []


def test_texts_with_nul_are_refused() -> None:
    assert fields(graph.GetGraphRequest(graph_id="a\0b")) == ["graph_id"]
    assert fields(execution.CreateExecutionRequest(graph_id="g", inputs={"a\0": JsonValue(json="1")})) == ['inputs["a\\u0000"]']


@pytest.mark.parametrize("text", ["{", "NaN", "1 2", '"\\ud800"', "[" * 200 + "]" * 200])
def test_json_values_must_hold_json_over_grpc_too(text: str) -> None:
    request = execution.CreateExecutionRequest(graph_id="g", inputs={"a b": JsonValue(json=text), "ok": JsonValue(json="1")})
    assert fields(request) == ['inputs["a b"]']


def test_numbers_and_enums() -> None:
    assert fields(graph.GetGraphRequest(graph_id="g", version=-1)) == ["version"]
    assert fields(execution.ListExecutionsRequest(page_size=1001, status=99)) == ["page_size", "status"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.com",
        "ada+x@mail.example.co.uk",
        "ada@mesh.local",
        "ada@host.test",
        "ada@localhost",
        "a@b",
        "ADA@EXAMPLE.COM",
        "o'hara.!#$%&*+/=?^_`{|}~-@example.invalid",
        ".ada..b.@example.com",
        f"ada@{'x' * 63}.example",
        "1@2.3",
    ],
)
def test_what_the_html_standard_calls_an_e_mail_address_passes(email: str) -> None:
    assert violations(auth.RegisterRequest(email=email, password="long enough")) == []


@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "a@b@c.de",
        "ada@",
        "@example.com",
        "",
        "a b@example.com",
        "ada@example.com\n",
        "ada@exa_mple.com",
        "ada@-example.com",
        "ada@example-.com",
        "ada@example..com",
        "ada@example.com.",
        "ada@[127.0.0.1]",
        f"ada@{'x' * 64}.example",
        "\u00e4da@example.com",
        "ada@ex\u00e4mple.com",
        "ada@\u0663.example",
        '"a b"@example.com',
        "Ada <ada@example.com>",
    ],
)
def test_what_is_no_e_mail_address_is_refused(email: str) -> None:
    assert fields(auth.RegisterRequest(email=email, password="long enough")) == ["email"]


def test_too_many_items_are_one_violation() -> None:
    request = graph.CreateGraphRequest(graph=graph.Graph(name="g", sub_graphs=[graph.Graph()] * 101))
    assert fields(request) == ["graph.sub_graphs"]


def test_the_list_of_violations_has_an_end() -> None:
    request = graph.CreateGraphRequest(graph=graph.Graph(name="g", links=[graph.Link()] * 1000))
    assert len(violations(request)) == MAX_VIOLATIONS


@pytest.mark.parametrize(
    ("type_number", "text", "good", "bad"),
    [
        (Field.TYPE_STRING, 'string { pattern: "^a+$" }', "aaa", "ab"),
        (Field.TYPE_STRING, 'string { pattern: "^[a-z]+$" }', "aaa", "aaa\n"),
        (Field.TYPE_STRING, 'string { pattern: "^\\\\d+$" }', "123", "\u0661"),
        (Field.TYPE_STRING, 'string { in: "x" in: "y" }', "y", "z"),
        (Field.TYPE_STRING, "string { max_bytes: 2 }", "é", "éa"),
        (Field.TYPE_STRING, "string { uuid: true }", "0190d7a5-0000-7000-8000-000000000001", "0190d7a5"),
        (Field.TYPE_STRING, "string { uuid: true } ", "0190D7A5-0000-7000-8000-00000000000F", "0190d7a5-0000-7000-8000-000000000001\n"),
        (Field.TYPE_STRING, "string { uuid: true }  ", "00000000-0000-0000-0000-000000000000", "{0190d7a5-0000-7000-8000-000000000001}"),
        (Field.TYPE_STRING, "required: true", "x", ""),
        (Field.TYPE_INT64, "int64 { gte: 1 lte: 3 }", 3, 4),
        (Field.TYPE_INT64, "int64 { gte: 1 lte: 3 }", 1, 0),
    ],
)
def test_rules_that_the_contracts_may_use(type_number: Any, text: str, good: Any, bad: Any) -> None:
    kind = rule(type_number, text)
    assert fields(kind(value=good)) == []
    assert fields(kind(value=bad)) == ["value"]


def test_items_have_rules_of_their_own() -> None:
    kind = rule(Field.TYPE_STRING, "repeated { min_items: 1 items { string { min_len: 2 } } }", is_repeated=True)
    assert fields(kind(value=["ab", "c"])) == ["value[1]"]
    assert fields(kind()) == ["value"]


def test_what_only_the_service_sets_is_refused_by_name() -> None:
    profile = user.User(id="x", email="a@b", display_name="Ann", create_time=Timestamp(seconds=1))
    assert fields(user.UpdateMeRequest(user=profile)) == ["user.id", "user.email", "user.create_time"]
    assert fields(user.UpdateMeRequest(user=user.User(display_name="Ann"))) == []
    # A graph as it was read may be sent back.
    assert fields(graph.UpdateGraphRequest(graph_id="g", graph=graph.Graph(name="g", version=3, is_active=True))) == []
