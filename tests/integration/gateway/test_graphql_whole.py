"""GraphQL in front of the real services: nested requests without a call per row, changes, and the same values as REST."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from gateway.graphql.calls import Calls
from mesh.contract import Method
from mesh.host import Host
from mesh.ids import uuid7
from tests.integration.gateway.test_whole import Client, client, host  # noqa: F401 - fixtures

_GRAPHS = 4
_RUNS = 3
NESTED = """{
  me { id email graphs(pageSize: 10) { items {
    id name
    nodes { id block { name } }
    executions(pageSize: 10) { items {
      id status graph { name } inputs
      events(pageSize: 20) { items { seq kind } }
      nodeExecutions(pageSize: 5) { items { id } }
    } }
    versions(pageSize: 2) { items { version } }
  } } }
}"""


class GraphQl:
    """Sends requests as one user."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, query: str, **variables: Any) -> Any:
        """The data; fails when there are errors."""
        answer = (await self._http.post("/graphql", json={"query": query, "variables": variables})).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def errors(self, query: str, **variables: Any) -> Any:
        """The errors."""
        return (await self._http.post("/graphql", json={"query": query, "variables": variables})).json()["errors"]


@pytest_asyncio.fixture
async def graphql(host: Host, client: Client) -> AsyncIterator[GraphQl]:  # noqa: F811 - a fixture
    """GraphQL as the client."""
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", headers=client.headers, timeout=30) as http:
        yield GraphQl(http)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the calls that GraphQL makes, by method."""
    made: Counter[str] = Counter()
    make = Calls.make

    async def counted(self: Calls, method: Method, request: Message) -> Any:
        made[method.name] += 1
        return await make(self, method, request)

    monkeypatch.setattr(Calls, "make", counted)
    return made


async def test_nested_requests_take_one_call_per_level_however_many_rows(
    client: Client,  # noqa: F811 - a fixture
    graphql: GraphQl,
    calls: Counter[str],
) -> None:
    ids = [await client.make_graph() for _ in range(_GRAPHS)]
    runs = [await client.run(graph_id) for graph_id in ids for _ in range(_RUNS)]
    calls.clear()
    data = await graphql.ask(NESTED)
    graphs = data["me"]["graphs"]["items"]
    assert {shown["id"] for shown in graphs} == set(ids)
    assert {run["id"] for shown in graphs for run in shown["executions"]["items"]} == set(runs)
    for shown in graphs:
        assert all(node["block"]["name"] for node in shown["nodes"])
        for run in shown["executions"]["items"]:
            assert run["graph"]["name"] == shown["name"]
            assert run["inputs"] == {"X": 9007199254740993}
            assert run["events"]["items"][0] == {"seq": 1, "kind": "EVENT_KIND_EXECUTION_QUEUED"}
    assert calls == {
        "GetMe": 1,
        "ListGraphs": 1,
        "BatchGetGraphs": calls["BatchGetGraphs"],
        "BatchGetBlocks": 1,
        "BatchListExecutions": 1,
        "BatchListGraphVersions": 1,
        "BatchListExecutionEvents": 1,
        "BatchListNodeExecutions": 1,
        "BatchGetExecutions": 1,
    }
    # Once for the nodes, once for the graphs of executions, which come to light later.
    assert calls["BatchGetGraphs"] <= 2


async def test_graphs_and_executions_are_changed(graphql: GraphQl) -> None:
    graph = {
        "name": "Sum",
        "nodes": [
            {"id": "a", "blockId": "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b", "inputDefault": {"name": "X", "value": 1.50}},
            {"id": "o", "blockId": "363ae599-353e-4804-937e-b2ee3cef3da4", "inputDefault": {"name": "Y"}},
        ],
        "links": [{"sourceId": "a", "sourceName": "result", "sinkId": "o", "sinkName": "value"}],
    }
    made = await graphql.ask("mutation($g: GraphInput!) { createGraph(graph: $g) { id version nodes { id inputDefault } } }", g=graph)
    graph_id = made["createGraph"]["id"]
    assert made["createGraph"]["nodes"][0]["inputDefault"] == {"name": "X", "value": 1.5}
    start = "mutation($g: String!, $i: JSON) { createExecution(graphId: $g, inputs: $i) { id graphId inputs } }"
    run = (await graphql.ask(start, g=graph_id, i={"X": [1, None, {"b": "ü"}]}))["createExecution"]
    assert run["inputs"] == {"X": [1, None, {"b": "ü"}]}
    assert (await graphql.ask("mutation($i: String!) { cancelExecution(executionId: $i) { id } }", i=run["id"]))["cancelExecution"][
        "id"
    ] == run["id"]
    assert await graphql.ask("mutation($g: String!) { deleteGraph(graphId: $g) }", g=graph_id) == {"deleteGraph": True}
    (error,) = await graphql.errors("query($g: String!) { graph(graphId: $g) { id } }", g=graph_id)
    assert error["extensions"]["details"][0]["reason"] == "GRAPH_NOT_FOUND"


async def test_what_is_wrong_with_a_graph_is_told_field_by_field(graphql: GraphQl) -> None:
    graph = {"name": "Bad", "nodes": [{"id": "a", "blockId": "none"}]}
    (error,) = await graphql.errors("mutation($g: GraphInput!) { createGraph(graph: $g) { id } }", g=graph)
    assert error["extensions"]["code"] == 3
    assert error["extensions"]["details"][0]["reason"] == "GRAPH_INVALID"
    assert "nodes[0]" in error["extensions"]["details"][1]["field_violations"][0]["field"]


async def test_one_failed_field_leaves_the_others(client: Client, graphql: GraphQl) -> None:  # noqa: F811 - a fixture
    graph_id = await client.make_graph()
    query = 'query($g: String!) { graph(graphId: $g) { id } block(blockId: "none") { id } }'
    answer = await graphql.errors(query, g=graph_id)
    assert [error["path"] for error in answer] == [["block"]]


async def test_nobody_acts_for_others_in_silence(host: Host, client: Client) -> None:  # noqa: F811 - fixtures
    headers = client.headers | {"x-treadle-on-behalf-of": uuid7()}
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", headers=headers) as http:
        (error,) = await GraphQl(http).errors("{ graphs { items { id } } }")
    assert error["extensions"]["code"] == 7


async def test_a_token_without_the_scope_is_refused_field_by_field(host: Host, client: Client) -> None:  # noqa: F811 - fixtures
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", headers=client.headers) as http:
        made = await http.post("/v1/api_keys", json={"name": "few", "scopes": ["graphs:read"]})
        http.headers["authorization"] = f"Bearer {made.json()['secret']}"
        answer = (await http.post("/graphql", json={"query": "{ graphs { items { id } } executions { items { id } } }"})).json()
    assert answer["data"]["graphs"] == {"items": []}
    assert answer["data"]["executions"] is None
    assert [(error["path"], error["extensions"]["code"]) for error in answer["errors"]] == [(["executions"], 7)]
