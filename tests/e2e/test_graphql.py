"""GraphQL through the edge: one request for what belongs together, and a subscription that a browser could hold."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.e2e.conftest import Stack

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
WATCH = "subscription($id: String!, $after: Int) { watchExecution(executionId: $id, afterSeq: $after) { seq kind } }"


@pytest.fixture(scope="module")
def execution(stack: Stack) -> str:
    """A finished execution."""
    graph = stack.json("graphs", "import", str(EXAMPLES / "greeting.yaml"))["graph"]["id"]
    return str(stack.json("run", graph)["id"])


def dial(client: httpx.Client, query: str = "") -> ClientConnection:
    url = str(client.base_url).replace("http://", "ws://").rstrip("/") + f"/graphql{query}"
    return connect(url, subprotocols=[Subprotocol("graphql-transport-ws")])


def hear(socket: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(socket.recv(timeout=20)))


def test_an_execution_comes_with_its_graph_and_its_events(client: httpx.Client, execution: str) -> None:
    query = """query($id: String!) { me { email } execution(executionId: $id) {
      outputs graph { nodes { id block { name } } } events(pageSize: 100) { items { seq kind value } }
    } }"""
    data = client.post("/graphql", json={"query": query, "variables": {"id": execution}}).json()["data"]
    rest = client.get(f"/v1/executions/{execution}").json()
    assert data["execution"]["outputs"] == rest["outputs"]
    assert [event["seq"] for event in data["execution"]["events"]["items"]] == list(range(1, rest["last_seq"] + 1))
    assert all(node["block"]["name"] for node in data["execution"]["graph"]["nodes"])


def test_a_ticket_opens_a_subscription_that_ends_with_the_execution(client: httpx.Client, execution: str) -> None:
    ticket = client.post("/v1/ws-tickets").json()["ticket"]
    last_seq = client.get(f"/v1/executions/{execution}").json()["last_seq"]
    with dial(client, f"?ticket={ticket}") as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        assert hear(socket)["type"] == "connection_ack"
        variables = {"id": execution, "after": 2}
        socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": WATCH, "variables": variables}}))
        heard = [hear(socket)["payload"]["data"]["watchExecution"]["seq"] for _ in range(last_seq - 2)]
        assert heard == list(range(3, last_seq + 1))
        assert hear(socket) == {"id": "1", "type": "complete"}


def test_a_sign_in_that_ends_takes_its_sockets_along(client: httpx.Client) -> None:
    account = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery", "display_name": "Ann"}
    session = client.post("/v1/auth/register", json=account).json()
    with dial(client) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {session['access_token']}"}}))
        assert hear(socket)["type"] == "connection_ack"
        assert client.post("/v1/auth/logout", json={"refresh_token": session["refresh_token"]}).status_code == 200
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_one_small_request_keeps_nobody_else_waiting(client: httpx.Client) -> None:
    doubled = " ".join(f"fragment F{at} on Query {{ ...F{at + 1} ...F{at + 1} }}" for at in range(60))
    for query in (f"{{ ...F0 }} {doubled} fragment F60 on Query {{ __typename }}", "{ " + "me { id } " * 5000 + "}", "{ a" * 50_000):
        refused = client.post("/graphql", json={"query": query}, timeout=10).json()
        assert refused["errors"][0]["extensions"]["code"] == 3
    assert client.post("/graphql", json={"query": "{ me { id } }"}, timeout=10).json()["data"]["me"]["id"]


def test_strangers_get_nowhere(client: httpx.Client) -> None:
    url = f"{client.base_url}".rstrip("/") + "/graphql"
    assert httpx.post(url, json={"query": "{ me { id } }"}).status_code == 401
    with dial(client) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": "Bearer nonsense"}}))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
