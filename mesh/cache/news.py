"""News of what is no longer right, from the process that changed it to all others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from mesh.ids import uuid7

# Core subject, no stream: who was away empties what it holds. The payload is who tells, the name of a cache and what to forget there.
SUBJECT = "treadle.cache.dropped"
_SEPARATOR = "\n"


class CacheNews:
    """The news of one process. Caches must not use what they hold while it does not hear any."""

    def __init__(self) -> None:
        self._teller = uuid7()
        self._client: Client | None = None
        self._forget: dict[str, Callable[[str], None]] = {}

    @property
    def epoch(self) -> int | None:
        """A number that changes whenever news may have been missed; None while none can come."""
        client = self._client
        return int(client.stats["reconnects"]) if client is not None and client.is_connected else None

    def listen(self, name: str, forget: Callable[[str], None]) -> None:
        """`forget` is called with what is no longer right in the cache of that name."""
        if name in self._forget:
            raise ValueError(f"there is a cache {name} already")
        self._forget[name] = forget

    async def tell(self, name: str, group: str) -> None:
        """Tells the other processes. While the bus is away they use nothing that they hold, and begin anew after it."""
        client = self._client
        if client is not None and client.is_connected:
            with suppress(nats.errors.Error):
                await client.publish(SUBJECT, _SEPARATOR.join((self._teller, name, group)).encode())

    async def connect(self, connect: Callable[[], Awaitable[Client]]) -> None:
        """Hears news from now on; waits for the bus."""
        client = await connect()
        await client.subscribe(SUBJECT, cb=self._take)
        await client.flush()
        self._client = client

    @asynccontextmanager
    async def hearing(self, connect: Callable[[], Awaitable[Client]]) -> AsyncIterator[None]:
        """`connect` in the background while the context lasts."""
        task = asyncio.create_task(self.connect(connect), name="cache-news")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _take(self, message: Msg) -> None:
        teller, _, rest = message.data.decode(errors="replace").partition(_SEPARATOR)
        name, _, group = rest.partition(_SEPARATOR)
        forget = self._forget.get(name)
        if forget is not None and teller != self._teller:
            forget(group)
