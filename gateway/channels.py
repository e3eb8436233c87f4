"""What a socket can subscribe to: one execution, gapless from any point, or whatever happens in the executions of a graph."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from gateway import events
from gateway.events import EventText
from gateway.executions import OVERLOADED, Executions, Followed
from mesh.bus import settled
from mesh.call import Caller
from mesh.errors import DeadlineExceededError, ResourceExhaustedError, UnavailableError
from mesh.streams import GRAPH_HEADER, execution_subject
from mesh.tail import Source, Tail

# A lost bus message is noticed by the next one, or after this long by a look into the journal.
IDLE_POLL_S = 3.0
# Bus messages of a graph that may wait for a slow socket.
MAX_BEHIND = 1024
_MAX_PAUSE_S = 5.0
_FIRST_PAUSE_S = 0.1

# What a channel gives: events in order, some at a time.
Batches = AsyncGenerator[Sequence[EventText], None]

_SUBSCRIBE_TIMEOUT_S = 2.0
_BUS_FAULTS = (OSError, TimeoutError, nats.errors.Error)
_AWAY = (UnavailableError, DeadlineExceededError, ResourceExhaustedError)


class TooSlowError(Exception):
    """The socket reads so slowly that live events had to be dropped."""


class Channels:
    """Opens channels. Without a bus, execution channels live on the journal alone and graph channels are UNAVAILABLE."""

    def __init__(self, executions: Executions) -> None:
        self.executions = executions
        self._client: Client | None = None

    def attach(self, client: Client) -> None:
        """Gives it the bus, once that is connected for the first time."""
        self._client = client

    async def execution(self, caller: Caller, followed: Followed, after_seq: int) -> Batches:
        """Batches of events from `after_seq` + 1 on, each event once and in order; ends after the last one.

        Waits while the execution service is away. Other errors come through.
        """
        seq, pause_s = after_seq, _FIRST_PAUSE_S
        while True:
            try:
                async with aclosing(self._tail(caller, followed).follow(seq)) as batches:
                    async for batch in batches:
                        seq, pause_s = batch[-1].seq, _FIRST_PAUSE_S
                        yield batch
            except _AWAY as error:
                if isinstance(error, ResourceExhaustedError) and error.reason != OVERLOADED:
                    raise
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries
                pause_s = min(pause_s * 2, _MAX_PAUSE_S)
            else:
                return

    async def graph(self, caller: Caller, graph_id: str) -> Batches:
        """Batches of events of the caller's executions of the graph, live; the first is empty and means that it listens.

        In order per execution. Raises TooSlowError when the reader falls far behind.
        """
        client = self._client
        if client is None or not client.is_connected:
            raise _bus_away()
        waiting: deque[Msg] = deque()
        arrived = asyncio.Event()
        is_late = False

        async def on_message(message: Msg) -> None:
            nonlocal is_late
            if (message.headers or {}).get(GRAPH_HEADER) != graph_id:
                return
            is_late = is_late or len(waiting) >= MAX_BEHIND
            if not is_late:
                waiting.append(message)
            arrived.set()

        try:
            subscription = await client.subscribe(execution_subject(caller.user_id, ">"), cb=on_message)
        except _BUS_FAULTS:
            raise _bus_away() from None
        try:
            try:
                await settled(client, _SUBSCRIBE_TIMEOUT_S)
            except _BUS_FAULTS:
                raise _bus_away() from None
            yield []
            while True:
                while waiting:
                    message = waiting.popleft()
                    yield events.decode(message.data)
                if is_late:
                    raise TooSlowError
                arrived.clear()
                await arrived.wait()
        finally:
            with suppress(*_BUS_FAULTS):
                await subscription.unsubscribe()

    def _tail(self, caller: Caller, followed: Followed) -> Tail[EventText]:
        async def page(after_seq: int) -> Sequence[EventText] | None:
            nonlocal followed
            found = await self.executions.events(caller, followed.id, after_seq)
            if found or followed.is_ended:
                return found or None
            followed = await self.executions.get(caller, followed.id)
            if not followed.is_ended:
                return []
            # It may have ended between the two calls.
            return await self.executions.events(caller, followed.id, after_seq) or None

        source = Source(page=page, decode=events.decode, seq=lambda event: event.seq, is_last=lambda event: event.is_last)
        return Tail(source, self._client, execution_subject(caller.user_id, followed.id), idle_poll_s=IDLE_POLL_S)


def _bus_away() -> UnavailableError:
    return UnavailableError("Live events are not available at the moment.", reason="BUS_UNAVAILABLE", retry_after_s=1.0)
