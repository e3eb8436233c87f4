"""The WebSocket through the edge: a client that breaks off and comes back has the same events as one that stayed."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.conftest import Stack

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
BREAK_AFTER = 20


@pytest.fixture(scope="module")
def execution(stack: Stack) -> str:
    """A finished execution with a few hundred events."""
    graph = stack.json("graphs", "import", str(EXAMPLES / "savings-plan.yaml"))["graph"]["id"]
    return str(stack.json("run", graph)["id"])


def socket_url(client: httpx.Client) -> str:
    return str(client.base_url).replace("http://", "ws://").rstrip("/") + "/v1/ws"


def follow(socket: ClientConnection, execution: str, after_seq: int, most: int) -> list[dict[str, Any]]:
    socket.send(json.dumps({"id": "1", "method": "subscribe", "execution_id": execution, "after_seq": after_seq}))
    events: list[dict[str, Any]] = []
    while len(events) < most:
        frame = json.loads(socket.recv(timeout=20))
        if frame["type"] == "ended":
            break
        if frame["type"] == "event":
            events.append(frame["event"])
        else:
            assert frame["type"] == "subscribed", frame
    return events


def test_who_comes_back_misses_nothing(client: httpx.Client, execution: str) -> None:
    headers = {"authorization": client.headers["authorization"]}
    listed = client.get(f"/v1/executions/{execution}/events", params={"page_size": 1000}).json()["events"]
    with connect(socket_url(client), additional_headers=headers) as socket:
        stayed = follow(socket, execution, 0, len(listed))
    with connect(socket_url(client), additional_headers=headers) as socket:
        before = follow(socket, execution, 0, BREAK_AFTER)
    with connect(socket_url(client), additional_headers=headers) as socket:
        after = follow(socket, execution, BREAK_AFTER, len(listed) - BREAK_AFTER)
    assert stayed == before + after == listed
    assert [event["seq"] for event in stayed] == list(range(1, len(listed) + 1))


def test_a_ticket_opens_one_socket(client: httpx.Client) -> None:
    ticket = client.post("/v1/ws-tickets").json()["ticket"]
    with connect(f"{socket_url(client)}?ticket={ticket}") as socket:
        socket.send(json.dumps({"id": "4", "method": "ping"}))
        assert json.loads(socket.recv(timeout=10)) == {"id": "4", "type": "pong"}
    with connect(f"{socket_url(client)}?ticket={ticket}") as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001


def test_a_bad_token_is_told_by_a_close_code(client: httpx.Client) -> None:
    with (
        connect(socket_url(client), additional_headers={"authorization": "Bearer nonsense"}) as socket,
        pytest.raises(ConnectionClosed) as closed,
    ):
        socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001
