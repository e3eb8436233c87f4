"""What the bus says about runs that were created here a moment ago.

Who follows such a run from its start, as nearly every caller does, needs neither the journal nor a subscription of its own.
All of it may be missing: then the reader takes the long way.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh.bus import Bus
from mesh.event_lines import read_message
from mesh.streams import execution_subject
from services.execution.messages import events_of
from services.execution.repository.executions import Record

MAX_RUNS = 4096
MAX_OWNERS = 256
# Messages kept: of one run (who is further behind reads the journal), and of all.
MAX_RUN_BYTES = 256 * 1024
MAX_BYTES = 16 * 1024 * 1024
# Silence after which a reader looks into the journal.
IDLE_S = 1.0


class LiveRun:
    """The bus messages of one run since its creation, in order; `record` is its row as it was created."""

    __slots__ = ("_arrived", "_messages", "is_dropped", "record", "size")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.size = 0
        # Nothing more will be added: others needed the room.
        self.is_dropped = False
        self._messages: list[bytes] = []
        self._arrived: asyncio.Event | None = None

    def add(self, message: bytes) -> None:
        """The next message."""
        self._messages.append(message)
        self.size += len(message)
        self._wake()

    def drop(self) -> None:
        """Sends all readers to the journal."""
        self.is_dropped = True
        self._wake()

    async def follow(self, after_seq: int) -> AsyncGenerator[Sequence[pb.Event]]:
        """Batches of events from `after_seq` + 1 on, without a gap. Ends where the messages do not lead on, at the latest after IDLE_S
        of silence: the caller goes on with the journal.
        """
        seq, at = after_seq, 0
        while True:
            while at < len(self._messages):
                message = read_message(self._messages[at])
                at += 1
                batch = events_of(message, seq)
                if batch and batch[0].seq == seq + 1:
                    yield batch
                    seq = batch[-1].seq
                elif batch or message.is_end:
                    return
            if self.is_dropped or not await self._more(at):
                return

    async def _more(self, at: int) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + IDLE_S
        if self._arrived is None:
            self._arrived = asyncio.Event()
        silence = loop.call_later(IDLE_S, self._wake)
        try:
            while len(self._messages) <= at and not self.is_dropped and loop.time() < until:
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            silence.cancel()
        return len(self._messages) > at

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()


class LiveRuns:
    """Runs created by this process, the newest `MAX_RUNS` of them, and one subscription for each of their owners."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()
        self._size = 0
        self._owners: OrderedDict[str, Subscription] = OrderedDict()
        self._subscribing = asyncio.Lock()

    def get(self, execution_id: str, owner_id: str) -> LiveRun | None:
        """The run, if it was created here lately and is this owner's."""
        found = self._runs.get(execution_id)
        return found if found is not None and found.record.owner_id == owner_id else None

    async def expect(self, record: Record, bus: Bus) -> None:
        """Listens for a new run. Call it before any worker hears of the run, on the same connection: the bus keeps the order."""
        if record.owner_id not in self._owners:
            with suppress(OSError, nats.errors.Error):
                await self._subscribe(record.owner_id, bus)
        if record.owner_id in self._owners:
            self._owners.move_to_end(record.owner_id)
            self._runs[record.id] = LiveRun(record)
            while len(self._runs) > MAX_RUNS or self._size > MAX_BYTES:
                self._forget(next(iter(self._runs)))

    async def _subscribe(self, owner_id: str, bus: Bus) -> None:
        async with self._subscribing:
            if owner_id in self._owners:
                return
            self._owners[owner_id] = await bus.nc.subscribe(execution_subject(owner_id, "*"), cb=self._on_message)
            while len(self._owners) > MAX_OWNERS:
                _, subscription = self._owners.popitem(last=False)
                await subscription.unsubscribe()

    async def _on_message(self, message: Msg) -> None:
        execution_id = message.subject.rpartition(".")[2]
        run = self._runs.get(execution_id)
        if run is None:
            return
        run.add(message.data)
        self._size += len(message.data)
        if run.size > MAX_RUN_BYTES:
            self._forget(execution_id)

    def _forget(self, execution_id: str) -> None:
        run = self._runs.pop(execution_id)
        self._size -= run.size
        run.drop()
