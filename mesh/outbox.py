"""The outbox of a service: what must be told together with a commit is written in its transaction, and brought to the bus from there.

A service that posts has a table `outbox (id uuid DEFAULT uuidv7(), subject text, body text, create_time timestamptz)` in its schema and
writes its rows itself, in the transaction that they are about. `Post` does the rest.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from mesh.bus import Bus
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.streams import MESSAGE_ID, ensure_streams
from mesh.tasks import end

# Between two looks for what another process, or a bus that was away, left behind.
_SWEEP_S = 5.0
_BATCH = 50

# Processes share the work: what one is sending another does not wait for.
_NEXT = "SELECT id, subject, body FROM outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"
_FORGET = "DELETE FROM outbox WHERE id = ANY($1::uuid[])"

_log = get_logger("mesh.outbox")


class Post:
    """Sends at once after a commit, and again until the bus has it, in the order of the outbox.

    A message may arrive twice; within the bus's window of duplicates it counts once.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        """`pool` is that of the schema with the outbox."""
        self._pool = pool
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to send."""
        self._woken.set()

    async def run(self, resources: Resources) -> None:
        """Sends until cancelled; outlives a bus and a database that are away."""
        bus = await resources.bus()
        is_ready = False
        while True:
            self._woken.clear()
            try:
                if not is_ready:
                    await ensure_streams(bus.js)
                    is_ready = True
                while await self.send(bus):
                    pass
            except Exception as error:  # whatever it was, the next sweep tries again
                is_ready = False
                _log.warning("post_delayed", service=resources.workload, fault=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await self._woken.wait()

    async def send(self, bus: Bus) -> int:
        """Sends the oldest messages and forgets them; how many. They stay when one of them cannot be sent."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_NEXT, _BATCH)
            for row in rows:
                await bus.js.publish(row["subject"], row["body"].encode(), headers={MESSAGE_ID: str(row["id"])})
            if rows:
                await connection.execute(_FORGET, [row["id"] for row in rows])
        return len(rows)


@asynccontextmanager
async def posting(pool: "asyncpg.Pool[Any]", resources: Resources) -> AsyncIterator[Post]:
    """The post at work in the background while the context lasts."""
    post = Post(pool)
    task = asyncio.create_task(post.run(resources), name=f"{resources.workload}-post")
    try:
        yield post
    finally:
        await end(task)
