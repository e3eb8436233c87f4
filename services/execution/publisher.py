"""Tells the bus what was committed, so that whoever watches need not ask. Losing a message costs watchers a moment, never an event."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import nats.errors

from mesh.bus import Bus
from mesh.event_lines import LAST_KINDS, NodeNames, write_message
from mesh.logs import get_logger
from mesh.streams import GRAPH_HEADER, execution_subject
from services.execution.hooks import hook
from services.execution.lines import Line

_log = get_logger("execution.publisher")

# Runs' commits that wait for the bus; the oldest are dropped beyond it.
MAX_WAITING = 10_000
# Between two messages of a run: nobody sees the difference, and a run of many small commits has a fraction of the messages.
PACE_S = 0.05
# Events in one message.
MAX_JOINED = 1000
# Below the bus's limit of 1 MiB with room for headers; watchers read what is larger from the journal.
MAX_PAYLOAD_BYTES = 900 * 1024


class Committed(msgspec.Struct, frozen=True, gc=False):
    """Consecutive events of one run, from `seq` on, that are durable. `nodes` knows all nodes that they speak of."""

    owner_id: str
    execution_id: str
    graph_id: str
    nodes: NodeNames
    seq: int
    lines: Sequence[Line]

    @property
    def is_end(self) -> bool:
        """Whether the run ends with these."""
        return self.lines[-1].kind in LAST_KINDS

    def joined(self, after: "Committed") -> "Committed | None":
        """Both in one; None when they are too many for that, or do not follow one another."""
        if self.seq + len(self.lines) != after.seq or len(self.lines) + len(after.lines) > MAX_JOINED:
            return None
        return Committed(self.owner_id, self.execution_id, self.graph_id, self.nodes, self.seq, [*self.lines, *after.lines])


class Publisher:
    """Publishes committed events, in the order of commits. Does without the bus while it is away.

    The first event of a run (another process publishes the next) and its end go out at once, and so does news after a silence. What comes
    soon after that waits for the end of the period, so that runs which commit often get one message every PACE_S: readers see as much, and
    everyone on the way has less to do.
    """

    def __init__(self) -> None:
        self._bus: Bus | None = None
        self._waiting: deque[Committed] = deque(maxlen=MAX_WAITING)
        # What waits for the end of the period, by run. Without a timer there is silence.
        self._held: dict[str, Committed] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()

    def attach(self, bus: Bus) -> None:
        """Gives it the bus, once that is connected for the first time."""
        self._bus = bus

    def add(self, committed: Committed) -> None:
        """Hands over events to publish. Returns at once."""
        if self._bus is None:
            return
        execution_id = committed.execution_id
        held = self._held.pop(execution_id, None)
        joined = committed
        if held is not None:
            both = held.joined(committed)
            if both is None:
                self._send(held)
            else:
                joined = both
        if joined.seq == 1 or joined.is_end or self._timer is None or len(self._held) >= MAX_WAITING:
            self._send(joined)
        else:
            self._held[execution_id] = joined
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PACE_S, self._next_period)

    def _send(self, item: Committed) -> None:
        self._waiting.append(item)
        self._wake.set()

    def _next_period(self) -> None:
        held, self._held, self._timer = self._held, {}, None
        for item in held.values():
            self._send(item)
        if held:
            self._timer = asyncio.get_running_loop().call_later(PACE_S, self._next_period)

    async def run(self) -> None:
        """Publishes until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._publish()

    async def flush(self) -> None:
        """Publishes what waits now, for whatever."""
        for execution_id in list(self._held):
            self._send(self._held.pop(execution_id))
        await self._publish()

    async def _publish(self) -> None:
        """What the bus does not take is dropped."""
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
    payload = write_message(item.execution_id, item.seq, item.nodes, item.lines)
    if len(payload) <= MAX_PAYLOAD_BYTES:
        return [(item.seq, payload)]
    single = ((seq, write_message(item.execution_id, seq, item.nodes, [line])) for seq, line in enumerate(item.lines, item.seq))
    return [(seq, payload) for seq, payload in single if len(payload) <= MAX_PAYLOAD_BYTES]
