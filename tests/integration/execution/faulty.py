"""A database pool whose answers get lost: some statements are not executed, some are executed and then reported as failed."""

import random
from typing import Any

import asyncpg

FAULTS = (ConnectionResetError, TimeoutError, asyncpg.ConnectionDoesNotExistError)


class FaultyPool:
    """Behaves like `pool`, with faults at a rate. `lost` counts statements that were executed and reported as failed."""

    def __init__(self, pool: asyncpg.Pool, rate: float, seed: int) -> None:
        """A statement fails before it with probability `rate`, and after it with the same."""
        self._pool = pool
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self.lost = 0

    async def fetch(self, *args: Any, **options: Any) -> Any:
        """As the pool's."""
        return await self._do(self._pool.fetch, args, options)

    async def acquire(self, **_: Any) -> "FaultyPool":
        """A connection is as faulty as the pool."""
        return self

    async def release(self, _: Any) -> None:
        """Nothing was taken."""

    def terminate(self) -> None:
        """Nothing is open."""

    def is_closed(self) -> bool:
        """Never: each query takes a real connection of its own."""
        return False

    async def fetchrow(self, *args: Any, **options: Any) -> Any:
        """As the pool's."""
        return await self._do(self._pool.fetchrow, args, options)

    async def fetchval(self, *args: Any, **options: Any) -> Any:
        """As the pool's."""
        return await self._do(self._pool.fetchval, args, options)

    async def execute(self, *args: Any, **options: Any) -> Any:
        """As the pool's."""
        return await self._do(self._pool.execute, args, options)

    async def executemany(self, *args: Any, **options: Any) -> Any:
        """As the pool's."""
        return await self._do(self._pool.executemany, args, options)

    async def _do(self, call: Any, args: Any, options: Any) -> Any:
        if self._random.random() < self._rate:
            raise self._random.choice(FAULTS)
        answer = await call(*args, **options)
        if self._random.random() < self._rate:
            self.lost += 1
            raise self._random.choice(FAULTS)
        return answer
