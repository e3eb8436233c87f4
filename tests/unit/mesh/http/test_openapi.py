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
from mesh.http.outcomes import errors_of
from mesh.http.route import Route
from mesh.http.routes import variables_of
from mesh.http.samples import UUID
from mesh.validation import violations

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
            scopes = sorted(method.scopes)
            public: list[dict[str, Any]] = [{}, {"refresh_cookie": []}] if method.takes_cookie else []
            assert operation["security"] == (public if method.is_public else [{"bearer": scopes}, {"api_key": scopes}])
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


def test_every_operation_says_which_errors_it_may_answer_with(made: dict[str, Any]) -> None:
    for path, operations in made["paths"].items():
        for operation in operations.values():
            statuses = set(operation["responses"])
            assert {"200", "400", "403", "408", "429", "431", "500", "503", "504"} <= statuses
            assert "default" not in statuses
            assert ("401" in statuses) >= any(operation["security"][:1])
            assert ("404" in statuses) >= ("{" in path)
            assert ({"413", "415"} <= statuses) == ("requestBody" in operation)


def test_errors_that_a_comment_names_are_answers_of_the_operation() -> None:
    method = methods()["/treadle.graph.v1.GraphService/CreateGraph"]
    found = errors_of(method, "Saves it. Errors: ALREADY_EXISTS (NAME_TAKEN: said twice, REUSED), UNAVAILABLE with RetryInfo.")
    assert found[409] == "NAME_TAKEN: said twice, REUSED"
    assert found[503] == ""
    with pytest.raises(ValueError, match="NOT_A_CODE"):
        errors_of(method, "Errors: NOT_A_CODE.")


def test_pages_are_told_how_to_keep_a_refresh_token(made: dict[str, Any]) -> None:
    refresh = made["paths"]["/v1/auth/refresh"]["post"]
    assert any(parameter["name"] == "x-use-cookie" for parameter in refresh["parameters"])
    assert "set-cookie" in refresh["responses"]["200"]["headers"]
    assert made["components"]["securitySchemes"]["refresh_cookie"]["name"] == "treadle_refresh"


def test_updates_that_honour_if_match_say_so(made: dict[str, Any]) -> None:
    update = made["paths"]["/v1/graphs/{graph_id}"]["put"]
    assert "412" in update["responses"]
    assert any(parameter["name"] == "if-match" for parameter in update["parameters"])


def test_examples_fit_their_schemas_and_the_rules_of_the_contracts(made: dict[str, Any]) -> None:
    for method in methods().values():
        if method.http is None:
            continue
        operation = made["paths"][method.http.path][method.http.verb.lower()]
        contents = [operation["responses"]["200"]["content"], operation.get("requestBody", {}).get("content", {})]
        for content in contents:
            if "application/json" in content:
                schema = {**content["application/json"]["schema"], "components": made["components"]}
                jsonschema_rs.validator_for(schema).validate(content["application/json"]["example"])
        if method.http.body:
            route = Route(method, variables_of(method.http.path))
            example = orjson.dumps(operation["requestBody"]["content"]["application/json"]["example"])
            values = [UUID.encode()] * len(variables_of(method.http.path))
            assert violations(route.request(values, b"", example, {})) == [], method.full_name


def test_errors_are_shown_as_the_doors_write_them(made: dict[str, Any]) -> None:
    for response in made["components"]["responses"].values():
        if "content" in response:
            example = response["content"]["application/json"]["example"]
            assert set(example) == {"code", "message", "details"}
            assert example["details"][0]["reason"]


def test_links_lead_to_operations_and_fill_their_parameters(made: dict[str, Any]) -> None:
    operations = {operation["operationId"]: operation for path in made["paths"].values() for operation in path.values()}
    linked = set()
    for operation in operations.values():
        for link in operation["responses"]["200"].get("links", {}).values():
            target = operations[link["operationId"]]
            assert set(link.get("parameters", ())) <= {parameter["name"] for parameter in target["parameters"]}
            linked.add(link["operationId"])
    assert {"execution_watch_execution", "graph_get_graph", "execution_list_executions", "execution_create_execution"} <= linked
