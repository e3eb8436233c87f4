"""News of what is no longer good: keys, sign-ins and accounts, by their ids, to every process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from mesh.logs import get_logger
from mesh.tasks import end

# Core subject, no stream: the id of a key, a sign-in or an account.
SUBJECT = "treadle.auth.revoked"
_CHECK_S = 1.0

_log = get_logger("mesh.identity")


async def announce(client: Client | None, id: str) -> None:
    """Tells all processes. While the bus is away they find out by themselves, a little later."""
    if client is None or not client.is_connected:
        _log.warning("revocation_not_announced", id=id)
        return
    await client.publish(SUBJECT, id.encode())


async def listen(connect: Callable[[], Awaitable[Client]], on_id: Callable[[str], None], on_gap: Callable[[], None]) -> None:
    """Calls `on_id` for each revocation until cancelled; `on_gap` when some may have been missed because the bus was away."""
    client = await connect()

    async def take(message: Msg) -> None:
        on_id(message.data.decode(errors="replace"))

    await client.subscribe(SUBJECT, cb=take)
    was_connected = True
    while True:
        await asyncio.sleep(_CHECK_S)
        if client.is_connected and not was_connected:
            on_gap()
        was_connected = client.is_connected


@asynccontextmanager
async def listening(
    connect: Callable[[], Awaitable[Client]], on_id: Callable[[str], None], on_gap: Callable[[], None]
) -> AsyncIterator[None]:
    """`listen` in the background while the context lasts."""
    task = asyncio.create_task(listen(connect, on_id, on_gap), name="revocations")
    try:
        yield
    finally:
        await end(task)
