"""What one GraphQL operation may really take, beside what is reckoned before it begins."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message
from graphql import GraphQLError
from treadle.graph.v1.graph_service_pb2 import GetGraphResponse, Graph, Node
from treadle.type.v1.json_value_pb2 import JsonValue

from gateway.graphql import budget as module
from gateway.graphql.budget import Budget, Gradual, budget, shown_json
from gateway.graphql.errors import put_in_our_words
from gateway.graphql.limits import MAX_ARGUMENT_VALUES
from gateway.graphql.schema import make_schema
from mesh.contract import Method
from mesh.errors import ResourceExhaustedError

NODES = 1000
SCHEMA = make_schema()


class Loaded:
    """Loaders of a service that knows one large graph."""

    def __init__(self) -> None:
        nodes = [Node(id=str(at), block_id="b", input_default=JsonValue(json='{"a":1}')) for at in range(NODES)]
        self._graph = GetGraphResponse(graph=Graph(id="g", name="n" * 1000, nodes=nodes))

    async def load(self, method: Method, request: Message) -> Message:
        """The graph."""
        del method, request
        return self._graph

    def show(self, response: Message, show: Callable[[Any], Any]) -> Any:
        """As it is."""
        return show(response)


class Context:
    """A context with a budget of `max_values`."""

    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self.loaders = Loaded()

    def renew(self) -> None:
        """A new budget."""
        budget.set(Budget(self._max_values))


async def ask(query: str, max_values: int = 50_000, **variables: Any) -> Any:
    """The result of a request."""
    return await SCHEMA.execute(query, variable_values=variables, context_value=Context(max_values))


def reasons(result: Any) -> list[str]:
    """Why fields failed."""
    return [error.extensions["details"][0]["reason"] for error in result.errors or ()]


async def test_a_list_costs_what_it_holds() -> None:
    query = '{ graph(graphId: "g") { nodes { id ...More } } } fragment More on Node { blockId ... on Node { inputDefault } }'
    whole = await ask(query, NODES * 4)
    assert [len(node) for node in whole.data["graph"]["nodes"]] == [3] * NODES
    assert [node["id"] for node in whole.data["graph"]["nodes"]] == [str(at) for at in range(NODES)]
    assert reasons(await ask(query, NODES * 4 - 1)) == ["GRAPHQL_TOO_LARGE"]


async def test_other_names_for_the_same_list_cost_again() -> None:
    names = " ".join(f'a{at}: graph(graphId: "g") {{ nodes {{ id }} }}' for at in range(5))
    result = await ask(f"{{ {names} }}", NODES * 2 * 3)
    assert [graph is not None for graph in result.data.values()] == [True, True, True, False, False]
    assert reasons(result) == ["GRAPHQL_TOO_LARGE"] * 2


async def test_text_and_json_count_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 3500)
    names = " ".join(f'a{at}: graph(graphId: "g") {{ name }}' for at in range(5))
    assert reasons(await ask(f"{{ {names} }}")) == ["GRAPHQL_TOO_LARGE"] * 2
    assert set(reasons(await ask('{ graph(graphId: "g") { nodes { inputDefault } } }'))) == {"GRAPHQL_TOO_LARGE"}
    budget.set(Budget(1))
    assert orjson.dumps(shown_json({"a": orjson.Fragment("1.50")})) == b'{"a":1.50}'
    with pytest.raises(ResourceExhaustedError):
        shown_json(orjson.Fragment('"' + "x" * 3500 + '"'))


def test_what_services_give_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    left = Budget(1)
    left.load(100)
    with pytest.raises(ResourceExhaustedError) as refused:
        left.load(1)
    assert refused.value.reason == "GRAPHQL_TOO_LARGE"


async def test_a_long_list_lets_others_have_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    assert [item async for item in Gradual(range(NODES))] == list(range(NODES))
    other.cancel()
    assert turns >= NODES // module.PAUSE_EVERY


async def test_variables_hold_no_more_than_anybody_sends() -> None:
    many: list[dict[str, str]] = [{}] * MAX_ARGUMENT_VALUES
    query = "mutation($g: GraphInput!) { createGraph(graph: $g) { id } }"
    assert reasons(await ask(query, g={"name": "n", "nodes": many})) == ["GRAPHQL_TOO_COSTLY"]
    # What is JSON to us too is not compared with anything.
    assert "GRAPHQL_TOO_COSTLY" not in reasons(await ask('query($i: JSON) { graph(graphId: "g") { id } }', i=many))


def test_rows_that_failed_for_one_reason_share_its_words() -> None:
    cause = ResourceExhaustedError("No.", reason="OVERLOADED")
    errors: list[Any] = [GraphQLError("raw", original_error=cause) for _ in range(3)]
    put_in_our_words(errors)
    assert {error.message for error in errors} == {"No."}
    assert errors[0].extensions is errors[2].extensions
