"""Tells the bus what was committed, so that whoever watches need not ask. Losing a message costs watchers a moment, never an event."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
import orjson

from mesh.bus import Bus
from mesh.logs import get_logger
from mesh.streams import GRAPH_HEADER, execution_subject
from services.execution.lines import Line, Renderer
from services.execution.worker.hooks import hook

_log = get_logger("execution.publisher")

# Runs' commits that wait for the bus; the oldest are dropped beyond it.
MAX_WAITING = 10_000
# Below the bus's limit of 1 MiB with room for headers; watchers read what is larger from the journal.
MAX_PAYLOAD_BYTES = 900 * 1024


@dataclass(frozen=True, slots=True)
class Committed:
    """Consecutive events of one run, from `seq` on, that are durable."""

    owner_id: str
    execution_id: str
    graph_id: str
    renderer: Renderer
    seq: int
    lines: Sequence[Line]


class Publisher:
    """Publishes committed events, one message per run and commit, in the order of commits. Does without the bus while it is away."""

    def __init__(self) -> None:
        self._bus: Bus | None = None
        self._waiting: deque[Committed] = deque(maxlen=MAX_WAITING)
        self._wake = asyncio.Event()

    def attach(self, bus: Bus) -> None:
        """Gives it the bus, once that is connected for the first time."""
        self._bus = bus

    def add(self, committed: Committed) -> None:
        """Hands over events to publish. Returns at once."""
        if self._bus is not None:
            self._waiting.append(committed)
            self._wake.set()

    async def run(self) -> None:
        """Publishes until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Publishes what waits now. What the bus does not take is dropped."""
        while self._waiting:
            item = self._waiting.popleft()
            await hook("publish.before")
            bus = self._bus
            if bus is None or not bus.is_connected:
                continue
            subject = execution_subject(item.owner_id, item.execution_id)
            for seq, payload in _payloads(item):
                with suppress(OSError, nats.errors.Error):
                    await bus.nc.publish(
                        subject, payload, headers={"Nats-Msg-Id": f"{item.execution_id}:{seq}", GRAPH_HEADER: item.graph_id}
                    )
            await hook("publish.after")


def _payloads(item: Committed) -> list[tuple[int, bytes]]:
    """The messages with their first seq; an event too large for the bus is left out and so shows as a gap."""
    events = list(item.renderer.json(item.seq, item.lines))
    payload = orjson.dumps(events)
    if len(payload) <= MAX_PAYLOAD_BYTES:
        return [(item.seq, payload)]
    return [part for part in _split(events) if len(part[1]) <= MAX_PAYLOAD_BYTES]


def _split(events: Sequence[dict[str, Any]]) -> list[tuple[int, bytes]]:
    return [(event["seq"], b"[" + orjson.dumps(event) + b"]") for event in events]
