"""Graphs over HTTP/JSON, by the door of the service itself."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from mesh import jsontext
from mesh.host import Host
from tests.integration.graph.conftest import User
from tests.unit.graph.installed import block_id
from tests.unit.graph.making import exported_calculator

CONSTANTS = '{"operation":"Add","b":9007199254740993,"zeta":{"b":1,"a":123456789012345678901234567890}}'


@pytest_asyncio.fixture
async def http(host: Host, user: User) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the user's token."""
    headers = {"authorization": f"Bearer {user.token}", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", headers=headers, timeout=20, trust_env=False) as client:
        yield client


def body(constants: str = CONSTANTS) -> str:
    metadata = '{"position":{"y":2,"x":1}}'
    block = block_id("CalculatorBlock")
    node = f'{{"id":"sum","block_id":"{block}","input_default":{constants},"metadata":{metadata}}}'
    return f'{{"name":"Adds","description":"","nodes":[{node}],"links":[]}}'


def fields(answer: httpx.Response) -> set[str]:
    """Where the problems are, seen from the body."""
    details: list[dict[str, Any]] = answer.json()["details"]
    return {item["field"] for detail in details for item in detail.get("field_violations", ())}


async def test_the_body_is_the_graph_and_comes_back_as_it_went(http: httpx.AsyncClient) -> None:
    made = await http.post("/v1/graphs", content=body())
    assert made.status_code == 200, made.text
    graph = made.json()
    got = await http.get(f"/v1/graphs/{graph['id']}")
    assert CONSTANTS in got.text
    assert '"metadata":{"position":{"y":2,"x":1}}' in got.text
    again = await http.get(f"/v1/graphs/{graph['id']}", headers={"if-none-match": got.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    changed = await http.put(f"/v1/graphs/{graph['id']}", content=body("{}"), headers={"if-match": got.headers["etag"]})
    assert changed.json()["version"] == 2
    assert changed.headers["etag"] != got.headers["etag"]
    stale = await http.put(f"/v1/graphs/{graph['id']}", content=body("{}"), headers={"if-match": got.headers["etag"]})
    assert (stale.status_code, stale.json()["code"]) == (412, 10)
    # A list of tags, one of them as proxies weaken it; and any.
    for tags in (f'"1-0", W/{changed.headers["etag"]}', "*"):
        assert (await http.put(f"/v1/graphs/{graph['id']}", content=body("{}"), headers={"if-match": tags})).status_code == 200
    old = await http.get(f"/v1/graphs/{graph['id']}", params={"version": 1})
    assert CONSTANTS in old.text
    assert (await http.post(f"/v1/graphs/{graph['id']}:activate", content='{"version":1}')).json()["is_active"] is True
    versions = (await http.get(f"/v1/graphs/{graph['id']}/versions")).json()
    assert [item["version"] for item in versions["graphs"]] == [4, 3, 2, 1]
    assert [item["id"] for item in (await http.get("/v1/graphs")).json()["graphs"]] == [graph["id"]]
    assert (await http.delete(f"/v1/graphs/{graph['id']}")).status_code == 200
    assert (await http.get(f"/v1/graphs/{graph['id']}")).status_code == 404


async def test_a_repeated_create_with_an_idempotency_key_makes_one_graph(http: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "0190a000-0000-7000-8000-000000000001"}
    first = await http.post("/v1/graphs", content=body(), headers=headers)
    second = await http.post("/v1/graphs", content=body(), headers=headers)
    assert first.json()["id"] == second.json()["id"]


async def test_problems_name_the_field(http: httpx.AsyncClient) -> None:
    unknown = await http.post("/v1/graphs", content='{"name":"x","nodes":[{"id":"a","block_id":"b","colour":1}]}')
    assert (unknown.status_code, unknown.json()["code"]) == (400, 3)
    assert "nodes[0].colour" in unknown.text
    missing = await http.post("/v1/graphs", content='{"name":"x","nodes":[{"id":"a","block_id":"b"}],"links":[]}')
    assert missing.status_code == 400
    assert fields(missing) == {"nodes[0].block_id"}
    checked = await http.post("/v1/graphs:validate", content=body('{"operation":"Add"}'))
    assert [(item["node_id"], item["field"]) for item in checked.json()["problems"]] == [("sum", "a"), ("sum", "b")]


async def test_import_and_export(http: httpx.AsyncClient) -> None:
    made = await http.post("/v1/graphs:import", content=jsontext.dumps({"graph_data": exported_calculator()}))
    assert made.status_code == 200, made.text
    assert set(made.json()) == {"graph", "report"}
    assert set(made.json()["report"]) == {"unknown_blocks", "needed_credentials", "changes"}
    exported = await http.get(f"/v1/graphs/{made.json()['graph']['id']}:export")
    assert exported.json()["name"] == "Calculator agent"
    again = await http.post("/v1/graphs:import", content=exported.content)
    assert again.json()["graph"]["nodes"] == made.json()["graph"]["nodes"]
    refused = await http.post("/v1/graphs:import", content='{"nodes":[{"id":7}]}')
    assert (refused.status_code, fields(refused)) == (400, {"nodes[0].id"})
