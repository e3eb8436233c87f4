"""The way of a draft through the edge: saved, disputed, run, published."""

from typing import Any

import grpc
import httpx
import pytest
from google.rpc.status_pb2 import Status
from treadle.graph.v1 import draft_service_pb2 as pb
from treadle.graph.v1.draft_service_pb2_grpc import DraftServiceStub
from treadle.graph.v1.graph_service_pb2 import Graph

from tests.e2e.conftest import Stack, wait_for

CALCULATOR, INPUT, OUTPUT = (
    "b1ab9b19-67a6-406d-abf5-2dba76d00c79",
    "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b",
    "363ae599-353e-4804-937e-b2ee3cef3da4",
)


def adds(amount: int, **more: Any) -> dict[str, Any]:
    nodes = [
        {"id": "in", "block_id": INPUT, "input_default": {"name": "X"}},
        {"id": "sum", "block_id": CALCULATOR, "input_default": {"operation": "Add", "b": amount}},
        {"id": "out", "block_id": OUTPUT, "input_default": {"name": "R"}},
    ]
    links = [
        {"source_id": "in", "source_name": "result", "sink_id": "sum", "sink_name": "a"},
        {"source_id": "sum", "source_name": "result", "sink_id": "out", "sink_name": "value"},
    ]
    return {"name": "Adds", "nodes": nodes, "links": links, **more}


def ended(client: httpx.Client, execution_id: str) -> dict[str, Any]:
    wait_for(lambda: "end_time" in client.get(f"/v1/executions/{execution_id}").json(), "the end")
    execution: dict[str, Any] = client.get(f"/v1/executions/{execution_id}").json()
    return execution


def test_a_draft_lives_from_the_first_save_to_the_first_version(client: httpx.Client) -> None:
    draft = client.post("/v1/drafts", json={"nodes": [{"id": "a", "block_id": "nowhere"}]}).raise_for_status().json()
    path = f"/v1/drafts/{draft['graph_id']}"
    assert {problem["field"] for problem in draft["problems"]} >= {"name", "block_id"}
    saved = client.put(path, json=adds(1), headers={"if-match": f'"{draft["etag"]}"'})
    assert saved.headers["etag"] == f'"{saved.json()["etag"]}"'
    run = client.post("/v1/executions", json={"graph_id": draft["graph_id"], "draft": True, "inputs": {"X": 1}}).raise_for_status().json()
    assert (run["graph_version"], run["graph_revision"]) == (0, saved.json()["revision"])
    other = client.put(path, json=adds(2), headers={"if-match": saved.headers["etag"]})
    version = client.post(f"{path}:publish", json={}, headers={"if-match": other.headers["etag"]}).raise_for_status().json()
    assert version["version"] == 1
    assert client.get(path).status_code == 404
    assert ended(client, run["id"])["outputs"] == {"R": [2]}
    ran = client.get(f"/v1/executions/{run['id']}/graph").raise_for_status().json()
    assert ran["nodes"] == saved.json()["graph"]["nodes"]
    assert client.get(f"/v1/executions/{run['id']}:explain").status_code == 200
    # Over GraphQL, too, the version of today is not passed off as the draft of then.
    query = "query($id: String!) { execution(executionId: $id) { graph { id } } executionGraph(executionId: $id) { nodes { id } } }"
    data = client.post("/graphql", json={"query": query, "variables": {"id": run["id"]}}).json()["data"]
    assert data["execution"]["graph"] is None
    assert [node["id"] for node in data["executionGraph"]["nodes"]] == [node["id"] for node in ran["nodes"]]


def test_a_conflict_comes_through_the_edge_with_both_contents_however_large(stack: Stack, client: httpx.Client) -> None:
    draft = client.post("/v1/drafts", json=adds(1)).raise_for_status().json()
    path = f"/v1/drafts/{draft['graph_id']}"
    notes = [{"id": f"n{number}", "block_id": CALCULATOR, "metadata": {"text": "x" * 1000}} for number in range(1000)]
    mine, theirs = adds(1), adds(2)
    mine["nodes"] += notes
    theirs["nodes"] += notes[1:]
    client.put(path, json=mine, headers={"if-match": draft["etag"]}).raise_for_status()
    lost = client.put(path, json=theirs, headers={"if-match": draft["etag"]})
    assert lost.status_code == 412
    conflict = lost.json()["details"][-1]
    assert conflict["@type"] == "type.googleapis.com/treadle.graph.v1.DraftConflict"
    assert (len(conflict["stored"]["graph"]["nodes"]), len(conflict["sent"]["nodes"])) == (1003, 1002)
    # In trailers there is no room for that.
    token = stack.treadle("token").strip()
    request = pb.UpdateDraftRequest(graph_id=draft["graph_id"], graph=Graph(name="x"), etag=draft["etag"])
    with grpc.insecure_channel(stack.status["grpc_target"]) as channel, pytest.raises(grpc.RpcError) as caught:
        DraftServiceStub(channel).UpdateDraft(request, metadata=(("authorization", f"Bearer {token}"),), timeout=20)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.ABORTED
    found = pb.DraftConflict()
    assert any(packed.Unpack(found) for packed in Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details)
    assert (found.is_shortened, found.stored.etag) == (True, conflict["stored"]["etag"])
