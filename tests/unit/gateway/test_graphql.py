"""The GraphQL schema as the contracts make it, and what it costs to ask."""

import re
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import treadle
from buf.validate import validate_pb2
from graphql import GraphQLObjectType, OperationDefinitionNode, get_introspection_query, parse
from treadle.execution.v1.execution_service_pb2 import CreateExecutionRequest
from treadle.type.v1.json_value_pb2 import JsonValue

from gateway.graphql.calls import request_of
from gateway.graphql.fields import shown_text
from gateway.graphql.frames import check_frame, decode, request_in
from gateway.graphql.limits import ASKING, INTROSPECTION, MAX_ALIASES, MAX_LEVELS, MAX_PAGE, Prices, TooManyLevelsError, Weight
from gateway.graphql.model import batch_of, getters, is_read, listing_of, offered
from gateway.graphql.names import camel, child_name, field_name, snake
from gateway.graphql.schema import Schema, make_schema
from mesh.contract import methods
from mesh.errors import InvalidArgumentError

PRICES = Prices(plain_lists=frozenset({"nodes"}), asking=frozenset({"executions", "outputs"}))
GEN = Path(treadle.__path__[0]).parent


# Seconds of the processor; without the limits it is for ever.
MOST_S = 3.0


@pytest.fixture(scope="module")
def schema() -> Schema:
    """The schema."""
    return make_schema()


def weigh(query: str, **variables: object) -> tuple[int, int]:
    """Depth and cost of a request."""
    document = parse(query)
    (operation,) = [item for item in document.definitions if isinstance(item, OperationDefinitionNode)]
    depth, cost, _ = Weight(document, variables, PRICES).of(operation)
    return depth, cost


def test_names() -> None:
    assert camel("next_page_token") == "nextPageToken"
    assert snake("NodeExecution") == "node_execution"
    assert [field_name(name) for name in ("GetMe", "ListGraphs", "ExportGraph")] == ["me", "graphs", "export_graph"]
    assert child_name("ListExecutionEvents", "Execution") == "events"
    assert child_name("ListNodeExecutions", "Execution") == "node_executions"
    assert child_name("ListExecutions", "Graph") == "executions"


def test_the_schema_on_record_is_this_one(schema: Schema) -> None:
    assert (GEN / "schema.graphql").read_text() == schema.as_str() + "\n"


def test_every_method_for_clients_is_there(schema: Schema) -> None:
    roots = {"Query": set[str](), "Mutation": set[str]()}
    for name in roots:
        root = schema._schema.type_map[name]
        assert isinstance(root, GraphQLObjectType)
        roots[name] = set(root.fields)
    for method in offered(methods().values()):
        if not method.is_server_streaming:
            assert camel(field_name(method.name)) in roots["Query" if is_read(method) else "Mutation"], method.full_name


def test_what_can_be_nested_can_be_asked_together() -> None:
    known = methods()
    unary = [method for method in offered(known.values()) if not method.is_server_streaming]
    by_key = getters(unary)
    # Nothing refers to keys, and nothing lists anything by one.
    nested = [method for key, method in by_key.items() if key != "api_key_id"]
    nested += [method for method in unary if listing_of(method) and any(key in method.request_descriptor.fields_by_name for key in by_key)]
    assert len(nested) > 5
    for method in nested:
        batch = batch_of(method, known)
        assert batch is not None, f"{method.name} can be nested but has no method for many"
        assert batch.scopes == method.scopes
        assert batch.callers == {"gateway"}
        request, answer = (batch.request_descriptor.fields_by_name["requests"], batch.response_descriptor.fields_by_name["answers"])
        assert request.message_type is not None
        assert answer.message_type is not None
        assert request.message_type.full_name == method.request_descriptor.full_name
        assert answer.message_type.fields_by_name["response"].message_type == method.response_descriptor


def test_a_request_costs_what_its_pages_may_hold() -> None:
    assert weigh("{ me { id email } }") == (2, 3)
    assert weigh("{ graphs(pageSize: 10) { items { id name } } }") == (3, 31)
    assert weigh("{ graphs { items { id } } }") == (3, 101)
    assert weigh("query($n: Int) { graphs(pageSize: $n) { items { id } } }", n=5) == (3, 11)
    assert weigh("query($n: Int = 3) { graphs(pageSize: $n) { items { id } } }") == (3, 1 + MAX_PAGE * 2)
    assert weigh("{ graphs(pageSize: 10) { ...P } } fragment P on GraphPage { items { id } }") == (3, 21)
    assert weigh('{ graph(graphId: "g") { nodes { id } } }') == (3, 21)
    assert weigh("{ graphs(pageSize: 2) { items { executions(pageSize: 1) { items { outputs } } } } }") == (
        5,
        1 + 2 * (1 + 1 + ASKING + 1 + 1 + ASKING),
    )
    assert weigh("{ __schema { types { name } } }") == (0, 2 + INTROSPECTION)


def test_no_page_is_larger_than_what_is_reckoned_with(schema: Schema) -> None:
    for method in offered(methods().values()):
        if listing_of(method):
            rules = method.request_descriptor.fields_by_name["page_size"].GetOptions().Extensions[validate_pb2.field]
            assert 0 < rules.int32.lte <= MAX_PAGE, method.full_name
    assert weigh(f"{{ graphs(pageSize: {'9' * 5000}) {{ items {{ id }} }} }}") == (3, 1 + MAX_PAGE * 2)


def test_fragments_that_double_each_other_are_weighed_at_once() -> None:
    bomb = "{ ...F0 } " + " ".join(f"fragment F{at} on Query {{ a{at}: me {{ id }} ...F{at + 1} ...F{at + 1} }}" for at in range(60))
    depth, cost = weigh(f"{bomb} fragment F60 on Query {{ me {{ id }} }}")
    assert depth == 2
    assert cost > 2**60


def test_fragments_cannot_be_chained_without_end() -> None:
    chain = " ".join(f"fragment F{at} on Query {{ ...F{at + 1} }}" for at in range(MAX_LEVELS * 2))
    chain += f" fragment F{MAX_LEVELS * 2} on Query {{ __typename }}"
    with pytest.raises(TooManyLevelsError):
        weigh(f"{{ ...F0 }} {chain}")
    # Nor when each piece that is looked at is short.
    pieces = " ".join(f"...F{at}" for at in range(MAX_LEVELS * 2, -1, -10))
    with pytest.raises(TooManyLevelsError):
        weigh(f"{{ {pieces} }} {chain}")


def test_a_fragment_within_itself_is_left_to_the_rules_of_graphql() -> None:
    assert weigh("{ ...A } fragment A on Query { me { id } ...B } fragment B on Query { ...A }") == (2, 2)


def test_json_is_passed_on_with_all_its_digits() -> None:
    whole = 10**30
    request = request_of(methods()["/treadle.execution.v1.ExecutionService/CreateExecution"], {"graph_id": "g", "inputs": {"X": whole}})
    assert request == CreateExecutionRequest(graph_id="g", inputs={"X": JsonValue(json=str(whole))}, input_names=["X"])
    shown = shown_text(f'{{"seq":1,"kind":"K","value":{{"x":{whole}}}}}', {"value"})
    assert orjson.dumps(shown) == f'{{"seq":1,"kind":"K","value":{{"x":{whole}}}}}'.encode()


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidArgumentError):
        request_of(methods()["/treadle.execution.v1.ExecutionService/CreateExecution"], {"graph_id": "g", "inputs": {"X": "\ud800"}})


class Nobody:
    """A context for requests that get no further than to be looked at."""

    def renew(self) -> None:
        """Nothing is loaded."""


async def test_one_request_cannot_call_a_method_without_end(schema: Schema) -> None:
    query = " ".join(f'c{at}: cancelExecution(executionId: "{at}") {{ id }}' for at in range(MAX_ALIASES + 1))
    refused = await schema.execute(f"mutation {{ {query} }}", context_value=Nobody())
    assert refused.errors
    assert "aliases" in refused.errors[0].message


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        # No name of it is a field of ours, and each fragment doubles the one after it.
        ("{ ...F0 } " + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(80)), "GRAPHQL_TOO_COSTLY"),
        ("{ ...F20 } " + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(1, 300)), "GRAPHQL_TOO_DEEP"),
        ("{ " + "a { " * 150 + "b" + " }" * 150 + " }", "GRAPHQL_TOO_DEEP"),
        ("{ " + " ".join(f"a{n}: __schema {{ types {{ fields {{ name }} }} }}" for n in range(10)) + " }", "GRAPHQL_TOO_COSTLY"),
        ("{ " + "me { id } " * 4000 + " }", "GRAPHQL_INVALID"),
        ("{ " + "a { " * 6000 + " }" * 6000 + " }", "GRAPHQL_INVALID"),
        ("{ graph(graphId: " + "[" * 2400 + "]" * 2400 + ") { id } }", "GRAPHQL_INVALID"),
        ("{ graphs(pageSize: " + "9" * 5000 + ") { nextPageToken } }", "GRAPHQL_INVALID"),
        ("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }", "GRAPHQL_INVALID"),
    ],
)
async def test_no_request_takes_long_to_refuse(schema: Schema, query: str, reason: str) -> None:
    query = query.replace("...F80 ...F80", "__typename").replace("...F300", "__typename")
    begin = time.process_time()
    refused = await schema.execute(query, context_value=Nobody())
    assert refused.errors
    details: Any = (refused.errors[0].extensions or {})["details"]
    assert details[0]["reason"] == reason
    assert time.process_time() - begin < MOST_S


async def test_what_tools_ask_of_the_schema_is_answered(schema: Schema) -> None:
    answer = await schema.execute(get_introspection_query(), context_value=Nobody())
    assert answer.errors is None


@pytest.mark.parametrize("text", ["", "nothing", "NaN", "[" * 100_000, '{"a":1e999}', b"\xff", '["\\ud800", 12345678901234567890]'])
def test_text_that_is_no_json_is_no_request(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever it is
        decode(text)
    with pytest.raises(InvalidArgumentError):
        request_in(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    "body", ["5", "null", '"{ me { id } }"', "[]", '[{"query":"{ me { id } }"}]', "{}", '{"query":1}', '{"query":"","variables":[]}']
)
def test_a_request_is_one_object_with_a_query(body: str) -> None:
    with pytest.raises(InvalidArgumentError):
        request_in(body.encode())


@pytest.mark.parametrize(
    "frame",
    [1, None, [], {}, {"type": 1}, {"type": "other"}, {"type": "subscribe"}, {"type": "subscribe", "id": [], "payload": {"query": ""}}]
    + [{"type": "subscribe", "id": "1", "payload": payload} for payload in (None, 5, {}, {"query": "", "variables": [1]})]
    + [{"type": "complete", "id": {}}, {"type": "connection_init", "payload": 5}],
)
def test_a_frame_is_one_of_the_protocol(frame: object) -> None:
    with pytest.raises(InvalidArgumentError):
        check_frame(frame)


async def test_introspection_can_be_switched_off() -> None:
    query = "{ __schema { queryType { name } } }"
    assert (await make_schema().execute(query, context_value=Nobody())).errors is None
    refused = await make_schema(has_introspection=False).execute(query, context_value=Nobody())
    assert refused.errors
    assert re.search("introspection", refused.errors[0].message, re.IGNORECASE)
