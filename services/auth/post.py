"""Brings what waits in the outbox to the bus: at once after a commit, and again until the bus has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from mesh.bus import Bus
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.streams import ensure_streams
from mesh.tasks import end
from services.auth.repository.outbox import Outbox

# Between two looks for what another process, or a bus that was away, left behind.
_SWEEP_S = 5.0
_BATCH = 50
MESSAGE_ID = "Nats-Msg-Id"

_log = get_logger("auth")


class Post:
    """Sends in the order of the outbox. A message may arrive twice within the bus's window of duplicates, where it counts once."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to send."""
        self._woken.set()

    async def run(self, resources: Resources) -> None:
        """Sends until cancelled; outlives a bus and a database that are away."""
        bus = await resources.bus()
        while True:
            self._woken.clear()
            try:
                await ensure_streams(bus.js)
                await self._send_all(bus)
            except Exception as error:  # whatever it was, the next sweep tries again
                _log.warning("post_delayed", fault=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await self._woken.wait()

    async def _send_all(self, bus: Bus) -> None:
        while await self._outbox.drain(_BATCH, partial(_publish, bus)):
            pass


async def _publish(bus: Bus, message_id: str, subject: str, body: str) -> None:
    await bus.js.publish(subject, body.encode(), headers={MESSAGE_ID: message_id})


@asynccontextmanager
async def posting(outbox: Outbox, resources: Resources) -> AsyncIterator[Post]:
    """The post at work in the background while the context lasts."""
    post = Post(outbox)
    task = asyncio.create_task(post.run(resources), name="auth-post")
    try:
        yield post
    finally:
        await end(task)
