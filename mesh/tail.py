"""Follows the events of an execution: what the journal has, then what is new, in order, each once, without a gap.

The bus only makes it quick: a message that is lost, late or repeated costs at most a look into the journal.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from mesh.bus import settled

E = TypeVar("E")

# Without word from the bus for this long, look into the journal: the longest that a lost message costs.
IDLE_POLL_S = 1.0
# A reader this many messages behind takes the rest from the journal instead.
MAX_BEHIND = 256
_SUBSCRIBE_TIMEOUT_S = 1.0

# What the bus client raises while its server is away.
_BUS_AWAY = (OSError, TimeoutError, nats.errors.Error)


@dataclass(frozen=True, slots=True)
class Source(Generic[E]):
    """Where events come from and how to read them.

    `page(after_seq)` returns events after that seq from the journal, in order, as many as it likes; empty when there are none yet; None
    when there never will be. `decode(message, after_seq)` reads the events after that seq of a bus message, which holds consecutive ones.
    `is_last` knows the event after which nothing comes.
    """

    page: Callable[[int], Awaitable[Sequence[E] | None]]
    decode: Callable[[bytes, int], Sequence[E]]
    seq: Callable[[E], int]
    is_last: Callable[[E], bool]


class Tail(Generic[E]):
    """One reader of one execution's events. `subject` is where new ones are published; `client` is None when there is no bus."""

    def __init__(self, source: Source[E], client: Client | None, subject: str, *, idle_poll_s: float = IDLE_POLL_S) -> None:
        self._source = source
        self._client = client
        self._subject = subject
        self._idle_poll_s = idle_poll_s
        # The oldest fall out when the reader is slow; it sees the gap and asks the journal.
        self._live: deque[bytes] = deque(maxlen=MAX_BEHIND)
        self._arrived = asyncio.Event()

    async def follow(self, after_seq: int) -> AsyncGenerator[Sequence[E]]:
        """Yields batches of events with seq `after_seq` + 1 and on; ends after the last event. Errors of `page` come through.

        Close the iterator (`contextlib.aclosing`) when leaving early, so that it leaves the bus.
        """
        source, seq = self._source, after_seq
        async with self._subscribed():
            while True:
                # From the journal to its end, ...
                while batch := await source.page(seq):
                    yield batch
                    seq = source.seq(batch[-1])
                    if source.is_last(batch[-1]):
                        return
                if batch is None:
                    return
                # ... then from the bus, as long as it goes on without a gap and without silence.
                while (message := await self._hear()) is not None:
                    batch = source.decode(message, seq)
                    if not batch:
                        continue
                    if source.seq(batch[0]) != seq + 1:
                        break
                    yield batch
                    seq = source.seq(batch[-1])
                    if source.is_last(batch[-1]):
                        return

    async def _hear(self) -> bytes | None:
        """The next message; None after a while without one."""
        if not self._live:
            self._arrived.clear()
            # A fraction of the cost of a timeout around the wait.
            silence = asyncio.get_running_loop().call_later(self._idle_poll_s, self._arrived.set)
            try:
                await self._arrived.wait()
            finally:
                silence.cancel()
        return self._live.popleft() if self._live else None

    async def _on_message(self, message: Msg) -> None:
        self._live.append(message.data)
        self._arrived.set()

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[None]:
        """Listens to the bus; does without while it is away (the client subscribes again by itself when it is back)."""
        subscription = None
        try:
            if self._client is not None:
                with suppress(*_BUS_AWAY):
                    subscription = await self._client.subscribe(self._subject, cb=self._on_message)
                    # The server must know of it before the journal is read, or an event may slip between the two.
                    await settled(self._client, _SUBSCRIBE_TIMEOUT_S)
            yield
        finally:
            if subscription is not None:
                with suppress(*_BUS_AWAY):
                    await subscription.unsubscribe()
