"""Live events of users, from the bus once for all sockets of a user."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gateway import events
from gateway.events import EventText
from mesh.bus import settled
from mesh.errors import UnavailableError
from mesh.streams import GRAPH_HEADER, execution_subject

# Bus messages that may wait for a slow socket.
MAX_BEHIND = 1024
_SUBSCRIBE_TIMEOUT_S = 2.0
_BUS_FAULTS = (OSError, TimeoutError, nats.errors.Error)


class TooSlowError(Exception):
    """The socket reads so slowly that live events had to be dropped."""


class Listener:
    """Who follows one graph."""

    def __init__(self) -> None:
        self._waiting: deque[Sequence[EventText]] = deque()
        self._arrived = asyncio.Event()
        self._is_late = False

    def put(self, batch: Sequence[EventText]) -> None:
        """Adds what came in one message; what does not fit any more is dropped, and `get` says so in its turn."""
        self._is_late = self._is_late or len(self._waiting) >= MAX_BEHIND
        if not self._is_late:
            self._waiting.append(batch)
        self._arrived.set()

    async def get(self) -> Sequence[EventText]:
        """The oldest message; waits for one. Raises TooSlowError after the last one that fitted."""
        while not self._waiting:
            if self._is_late:
                raise TooSlowError
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


class _Feed:
    """All live events of one user."""

    def __init__(self, user_id: str) -> None:
        self.listeners: dict[str, set[Listener]] = {}
        self._subject = execution_subject(user_id, ">")
        self._opening = asyncio.Lock()
        self._subscription: Subscription | None = None

    async def open(self, client: Client) -> None:
        """Returns when it listens. Raises what the bus raises."""
        async with self._opening:
            if self._subscription is not None:
                return
            subscription = await client.subscribe(self._subject, cb=self._on_message)
            try:
                await settled(client, _SUBSCRIBE_TIMEOUT_S)
            except BaseException:
                with suppress(*_BUS_FAULTS):
                    await subscription.unsubscribe()
                raise
            self._subscription = subscription

    async def close(self) -> None:
        """Nobody listens any more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(*_BUS_FAULTS):
                await subscription.unsubscribe()

    async def _on_message(self, message: Msg) -> None:
        listeners = self.listeners.get((message.headers or {}).get(GRAPH_HEADER, ""))
        if listeners:
            batch = events.decode(message.data)
            for listener in listeners:
                listener.put(batch)


class Feeds:
    """The feeds that somebody listens to."""

    def __init__(self) -> None:
        self._feeds: dict[str, _Feed] = {}

    @asynccontextmanager
    async def listen(self, client: Client, user_id: str, graph_id: str) -> AsyncIterator[Listener]:
        """Nothing of a user's executions of a graph is missed from now on. Raises UNAVAILABLE (BUS_UNAVAILABLE)."""
        feed = self._feeds.setdefault(user_id, _Feed(user_id))
        listener = Listener()
        # Before it is open, so that nobody else closes it.
        feed.listeners.setdefault(graph_id, set()).add(listener)
        try:
            try:
                await feed.open(client)
            except _BUS_FAULTS:
                raise bus_away() from None
            yield listener
        finally:
            feed.listeners[graph_id].discard(listener)
            if not feed.listeners[graph_id]:
                del feed.listeners[graph_id]
            if not feed.listeners:
                # Whoever comes now opens another one.
                del self._feeds[user_id]
                await feed.close()


def bus_away() -> UnavailableError:
    """What cannot be done without the bus."""
    return UnavailableError("Live events are not available at the moment.", reason="BUS_UNAVAILABLE", retry_after_s=1.0)
