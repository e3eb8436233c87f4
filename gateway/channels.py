"""What a socket can subscribe to: one execution, gapless from any point, or whatever happens in the executions of a graph."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from nats.aio.client import Client

from gateway import events
from gateway.events import EventText
from gateway.executions import OVERLOADED, Executions, Followed
from gateway.feeds import Feeds, bus_away
from mesh.call import Caller
from mesh.errors import DeadlineExceededError, ResourceExhaustedError, UnavailableError
from mesh.streams import execution_subject
from mesh.tail import Source, Tail

# A lost bus message is noticed by the next one, or after this long by a look into the journal.
IDLE_POLL_S = 3.0
_MAX_PAUSE_S = 5.0
_FIRST_PAUSE_S = 0.1

# What a channel gives: events in order, some at a time.
Batches = AsyncGenerator[Sequence[EventText], None]

_AWAY = (UnavailableError, DeadlineExceededError, ResourceExhaustedError)


class Channels:
    """Opens channels. Without a bus, execution channels live on the journal alone and graph channels are UNAVAILABLE."""

    def __init__(self, executions: Executions) -> None:
        self.executions = executions
        self._client: Client | None = None
        self._feeds = Feeds()

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
            raise bus_away()
        async with self._feeds.listen(client, caller.user_id, graph_id) as listener:
            yield []
            while True:
                yield await listener.get()

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
