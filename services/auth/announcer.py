"""Tells every process what is revoked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client

from mesh.identity.revocations import announce
from mesh.resources import Resources
from mesh.tasks import end


class Announcer:
    """Announces once the bus is there; nothing waits for it."""

    def __init__(self) -> None:
        self._client: Client | None = None

    async def announce(self, id: str) -> None:
        """Tells them of the key, the sign-in or the account with this id."""
        await announce(self._client, id)

    async def connect(self, resources: Resources) -> None:
        """Waits for the bus."""
        self._client = (await resources.bus()).nc


@asynccontextmanager
async def announcing(resources: Resources) -> AsyncIterator[Announcer]:
    """An announcer that connects in the background."""
    announcer = Announcer()
    connecting = asyncio.create_task(announcer.connect(resources), name="auth-bus")
    try:
        yield announcer
    finally:
        await end(connecting)
