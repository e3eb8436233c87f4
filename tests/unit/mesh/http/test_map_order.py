"""The members of a JSON object keep their order where the contract names a field for it; JSON never sees that field."""

from typing import Any, cast

import orjson
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.contract import methods
from mesh.errors import InvalidArgumentError
from mesh.http.decode import body_reader
from mesh.http.encode import to_json
from mesh.http.openapi import document
from mesh.http.query import QueryReader
from mesh.maporder import in_order
from mesh.validation import violations

CREATE: Descriptor = pb.CreateExecutionRequest.DESCRIPTOR


def read(text: str) -> pb.CreateExecutionRequest:
    reader = body_reader(CREATE, "*")
    assert reader is not None
    return pb.CreateExecutionRequest(**reader(text.encode()))


def shown(message: Message) -> dict[str, Any]:
    return cast(dict[str, Any], orjson.loads(to_json(message)))


def test_a_request_takes_the_order_of_its_object() -> None:
    request = read('{"graph_id":"g","inputs":{"z":1,"a":2,"m":{"y":1,"b":2}},"input_masks":{"n2":{},"n1":{}}}')
    assert list(request.input_names) == ["z", "a", "m"]
    assert list(request.input_mask_nodes) == ["n2", "n1"]
    assert request.inputs["m"].json == '{"y":1,"b":2}'
    assert list(read('{"graph_id":"g","inputs":{}}').input_names) == []
    assert list(read('{"graph_id":"g","inputs":{"b":1,"a":2,"b":3}}').input_names) == ["b", "a"]


def test_an_answer_has_the_order_of_the_field_beside_the_map() -> None:
    values = {name: JsonValue(json="1") for name in "amz"}
    for names, expected in ((["z", "a", "m"], "zam"), (["m"], "maz"), ([], "amz"), (["x", "z", "z", "m"], "zma")):
        message = pb.Execution(inputs=values, input_names=names)
        assert "".join(shown(message)["inputs"]) == expected


def test_json_has_no_such_field() -> None:
    assert not {"input_names", "output_names", "input_mask_nodes"} & set(shown(pb.Execution(input_names=["a"])))
    with pytest.raises(InvalidArgumentError) as caught:
        read('{"graph_id":"g","input_names":["a"]}')
    [violation] = caught.value.violations
    assert violation.field == "input_names"
    assert "input_mask_nodes" not in violation.description
    assert not {"input_names", "input_mask_nodes"} & set(QueryReader(CREATE, ()).fields)
    schemas = document(methods().values(), {})["components"]["schemas"]
    assert not any("input_names" in schema.get("properties", {}) for schema in schemas.values())


def test_a_wrong_key_is_named_once() -> None:
    request = read(orjson.dumps({"graph_id": "g", "inputs": {"k" * 501: 1}}).decode())
    [violation] = violations(request)
    assert violation.field.startswith('inputs["k')


def test_keys_that_are_not_named_come_after_in_their_own_order() -> None:
    assert in_order({"b": 1, "a": 1, "c": 1}, ["c"]) == ["c", "a", "b"]
    assert in_order({"b": 1}, []) == ["b"]
    assert in_order({}, ["a"]) == []
