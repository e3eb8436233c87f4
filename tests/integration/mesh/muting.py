"""A way to PostgreSQL on which connections can go silent: they stay open, and nothing comes through any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from mesh.settings import Settings


class Muting:
    """Passes bytes on, but not those of muted connections; it takes them all the same."""

    def __init__(self, settings: Settings) -> None:
        """`settings` name the server."""
        self._url = urlsplit(settings.database_url.get_secret_value())
        self._open: set[object] = set()
        self._muted: set[object] = set()
        self.port = 0

    @property
    def url(self) -> SecretStr:
        """The way through here."""
        return SecretStr(urlunsplit(self._url._replace(netloc=f"{self._url.username}:{self._url.password}@127.0.0.1:{self.port}")))

    def mute(self) -> int:
        """All present connections go silent; those that come later do not. How many that are."""
        self._muted |= self._open
        return len(self._open)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        me = object()
        there, back = await asyncio.open_connection(self._url.hostname, self._url.port)
        self._open.add(me)
        try:
            await asyncio.gather(self._pump(me, reader, back), self._pump(me, there, writer))
        finally:
            self._open.discard(me)
            writer.close()
            back.close()

    async def _pump(self, me: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if me not in self._muted:
                    writer.write(data)
                    await writer.drain()
        if me not in self._muted:
            writer.close()


@asynccontextmanager
async def muting(settings: Settings) -> AsyncIterator[Muting]:
    """Runs one."""
    between = Muting(settings)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.create_task(between.serve(reader, writer)))
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
