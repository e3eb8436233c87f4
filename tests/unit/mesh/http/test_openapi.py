"""The OpenAPI document of the contracts."""

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from treadle.graph.v1 import graph_service_pb2 as graph

from mesh.contract import methods
from mesh.http.comments import comments_of
from mesh.http.encode import to_json
from mesh.http.openapi import document

GEN = Path(__file__).parents[4] / "gen"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """The document as it is generated."""
    return document(methods().values(), comments_of((GEN / "descriptor.binpb").read_bytes()))


def test_every_route_is_there_with_its_words_and_scopes(made: dict[str, Any]) -> None:
    for method in methods().values():
        if method.http is not None:
            operation = made["paths"][method.http.path][method.http.verb.lower()]
            assert operation["description"]
            assert operation["security"] == ([] if method.is_public else [{"bearer": sorted(method.scopes)}])
            assert all(parameter["description"] for parameter in operation["parameters"])


def test_every_reference_leads_somewhere(made: dict[str, Any]) -> None:
    for reference in re.findall(rb'"\$ref":"#/([^"]+)"', orjson.dumps(made)):
        place: Any = made
        for part in reference.decode().split("/"):
            place = place[part]


def test_messages_fit_their_schemas(made: dict[str, Any]) -> None:
    validator = jsonschema_rs.validator_for({"$ref": "#/components/schemas/graph.v1.Graph", "components": made["components"]})
    valid = graph.Graph(name="g", nodes=[graph.Node(id="n", block_id="b")])
    valid.create_time.GetCurrentTime()
    assert validator.is_valid(orjson.loads(to_json(valid)))
    assert not validator.is_valid({"name": "g", "nodes": [{"id": "n"}]})
    assert not validator.is_valid({"name": "g", "nmae": "x"})


def test_the_generated_document_is_committed(made: dict[str, Any]) -> None:
    assert orjson.loads((GEN / "openapi.json").read_bytes()) == made
