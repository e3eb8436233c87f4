"""Many WebSockets at the same time: how late events come, what a socket costs. Alone: `python -m tests.benchmarks.sockets --home HOME`."""

import argparse
import asyncio
import json
import math
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import psutil
from websockets.asyncio.client import ClientConnection, connect

from mesh.local.state import read_state

CONNECTIONS = 2000
# Each event goes to all sockets of its user.
PER_USER = 100
EVENTS_PER_S = 20.0
DURATION_S = 30.0
# Sockets that are being opened at the same time.
_OPENING = 20
_SETTLE_S = 5.0
_INPUT, _OUTPUT = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b", "363ae599-353e-4804-937e-b2ee3cef3da4"
GRAPH: dict[str, Any] = {
    "name": "Pass on",
    "nodes": [
        {"id": "in", "block_id": _INPUT, "input_default": {"name": "X", "value": 1}},
        {"id": "out", "block_id": _OUTPUT, "input_default": {"name": "Y"}},
    ],
    "links": [{"source_id": "in", "source_name": "result", "sink_id": "out", "sink_name": "value"}],
}


@dataclass(slots=True)
class Heard:
    """What all sockets heard together: how late each event was, in milliseconds, and how many sockets ended."""

    late_ms: list[float] = field(default_factory=list)
    lost: int = 0


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a graph that their sockets follow."""

    headers: dict[str, str]
    graph_id: str


async def measure(home: Path, connections: int, events_per_s: float, duration_s: float) -> dict[str, Any]:
    """`{"connections", "events", "deliveries", "missing", "lost_sockets", "latency_ms", "memory_kb_per_connection"}`.

    Latency is from the time that an event bears to the moment a client has read it; the client is on the same machine. Every socket
    follows its user's graph, so an event is delivered once for each socket of the user.
    """
    state = read_state(home)
    if state is None:
        raise SystemExit(f"no stack at {home}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with httpx.AsyncClient(base_url=state.edge_url, timeout=30) as http:
        users = [await _user(http) for _ in range(math.ceil(connections / PER_USER))]
        await _run(http, users[0])
        before = _memory_kb(home)
        room = asyncio.Semaphore(_OPENING)
        owners = [users[at // PER_USER] for at in range(connections)]
        sockets = await asyncio.gather(*(_open(room, state.edge_url, user) for user in owners))
        await asyncio.sleep(_SETTLE_S)
        after = _memory_kb(home)
        heard = Heard()
        readers = [asyncio.create_task(_listen(socket, heard)) for socket in sockets]
        events = await _load(http, users, events_per_s, duration_s, heard)
        for socket, reader in zip(sockets, readers, strict=True):
            reader.cancel()
            socket.transport.abort()
        await asyncio.gather(*readers, return_exceptions=True)
    heard.late_ms.sort()
    # Users come in turn, so the last ones may have fewer sockets and fewer events.
    deliveries = sum(count * owners.count(user) for user, count in zip(users, events, strict=True))
    return {
        "connections": connections,
        "events": sum(events),
        "deliveries": len(heard.late_ms),
        "missing": deliveries - len(heard.late_ms),
        "lost_sockets": heard.lost,
        "latency_ms": {f"p{percent}": _percentile(heard.late_ms, percent) for percent in (50, 95, 99)},
        "memory_kb_per_connection": {kind: round((after[kind] - before[kind]) / connections, 1) for kind in after},
    }


async def _user(http: httpx.AsyncClient) -> User:
    account = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery", "display_name": "Bench"}
    token = _ok(await http.post("/v1/auth/register", json=account))["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    return User(headers, _ok(await http.post("/v1/graphs", json=GRAPH, headers=headers))["id"])


async def _open(room: asyncio.Semaphore, edge_url: str, user: User) -> ClientConnection:
    url = f"{edge_url.replace('http', 'ws', 1)}/v1/ws"
    async with room:
        socket = await connect(url, additional_headers=user.headers, compression=None, ping_interval=None, open_timeout=30)
        await socket.send(orjson.dumps({"id": "1", "method": "subscribe", "graph_id": user.graph_id}).decode())
        answer = orjson.loads(await socket.recv())
    if answer["type"] != "subscribed":
        raise SystemExit(f"refused: {answer}")
    return socket


async def _listen(socket: ClientConnection, heard: Heard) -> None:
    async for frame in socket:
        now = time.time()
        event = orjson.loads(frame)["event"]
        heard.late_ms.append((now - datetime.fromisoformat(event["time"]).timestamp()) * 1000)
    heard.lost += 1


async def _load(http: httpx.AsyncClient, users: Sequence[User], events_per_s: float, duration_s: float, heard: Heard) -> list[int]:
    """Starts executions of all users in turn, so that there are as many events as asked for; then waits for the last ones. Returns how
    many events each user had.
    """
    events_per_run = await _run(http, users[0])
    events = [events_per_run, *(0 for _ in users[1:])]
    started, begin = 0, time.monotonic()
    while (elapsed_s := time.monotonic() - begin) < duration_s:
        if started * events_per_run < elapsed_s * events_per_s:
            user = users[started % len(users)]
            _ok(await http.post("/v1/executions", json={"graph_id": user.graph_id}, headers=user.headers))
            events[started % len(users)] += events_per_run
            started += 1
        else:
            await asyncio.sleep(0.01)
    before = -1
    while len(heard.late_ms) != before:
        before = len(heard.late_ms)
        await asyncio.sleep(1.0)
    return events


async def _run(http: httpx.AsyncClient, user: User) -> int:
    """Runs the graph once to its end; returns how many events that gives."""
    made = _ok(await http.post("/v1/executions", json={"graph_id": user.graph_id}, headers=user.headers))
    path = f"/v1/executions/{made['id']}"
    while True:
        found = _ok(await http.get(path, headers=user.headers))
        if found["status"] == "EXECUTION_STATUS_COMPLETED":
            return int(found["last_seq"])
        await asyncio.sleep(0.05)


def _ok(response: httpx.Response) -> Any:
    if response.is_error:
        raise SystemExit(f"{response.request.method} {response.request.url}: {response.status_code} {response.text}")
    return response.json()


def _memory_kb(home: Path) -> dict[str, float]:
    """Resident memory of the gateway and of the edge."""
    state = read_state(home)
    found = {"gateway": 0.0, "edge": 0.0}
    for process in state.processes if state else ():
        if process.kind in found and process.pid:
            found[process.kind] += psutil.Process(process.pid).memory_info().rss / 1024
    return found


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2) if ordered else 0.0


def main() -> int:
    """Prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".treadle"))
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--events-per-s", type=float, default=EVENTS_PER_S)
    parser.add_argument("--duration-s", type=float, default=DURATION_S)
    options = parser.parse_args()
    found = asyncio.run(measure(options.home, options.connections, options.events_per_s, options.duration_s))
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
