"""When runs start and when a subscriber sees their results: the events of a graph's runs, over the WebSocket."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from websockets.asyncio.client import ClientConnection, connect

from mesh.cli.load import Job, percentiles_ms
from mesh.tasks import end

_SETTLE_S = 2.0


@dataclass(slots=True)
class StartTimes:
    """Wall-clock seconds by execution id: when the first node started (by its event), when the subscriber had the terminal event."""

    started: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)

    def take(self, text: str | bytes) -> None:
        """A frame of the socket."""
        now = time.time()
        event = orjson.loads(text).get("event") or {}
        execution_id, kind = event.get("execution_id", ""), event.get("kind", "")
        if kind == "EVENT_KIND_NODE_STARTED":
            self.started.setdefault(execution_id, dt.datetime.fromisoformat(event["time"]).timestamp())
        elif kind == "EVENT_KIND_EXECUTION_COMPLETED":
            self.seen[execution_id] = now

    def report(self, posted: Mapping[str, float]) -> dict[str, object]:
        """Percentiles from the POST on, of the runs in `posted`."""
        return {
            "first_node_started_ms": percentiles_ms(_gaps(posted, self.started)),
            "result_at_subscriber_ms": percentiles_ms(_gaps(posted, self.seen)),
        }


@asynccontextmanager
async def subscribed(target: str, job: Job) -> AsyncIterator[StartTimes]:
    """Listens to the graph's runs while the context lasts, and a moment longer for what is under way."""
    times = StartTimes()
    headers = {"authorization": f"Bearer {job.token}"}
    async with connect(f"ws://{target}/v1/ws", additional_headers=headers, compression=None) as socket:
        await socket.send(orjson.dumps({"id": "1", "method": "subscribe", "graph_id": job.graph_id}).decode())
        await socket.recv()
        reader = asyncio.create_task(_read(socket, times))
        try:
            yield times
            await asyncio.wait((reader,), timeout=_SETTLE_S)
        finally:
            await end(reader)


async def _read(socket: ClientConnection, times: StartTimes) -> None:
    async for frame in socket:
        times.take(frame)


def _gaps(begun: Mapping[str, float], ended: Mapping[str, float]) -> list[float]:
    return [ended[key] - at for key, at in begun.items() if key in ended]
