"""Answers single questions in batches, for reads that many callers make at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

DEFAULT_MAX_BATCH = 200


class Gathered(Generic[K, V]):
    """One query for all who ask at once. An answer is never older than its question: who asks while a query is at work waits for the next.

    A lone question is asked at once. When a query fails, all who waited for it get its error.
    """

    def __init__(self, ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], *, max_batch: int = DEFAULT_MAX_BATCH) -> None:
        """`ask` takes different keys and returns what it found."""
        self._ask = ask
        self._max_batch = max_batch
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """The value of the key; None when there is none. Raises what the query raises."""
        found = self._waiting.get(key)
        if found is None:
            found = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._run(), name="gathered read")
        # Others may wait for the same: one who leaves must not take the answer along.
        return await asyncio.shield(found)

    async def _run(self) -> None:
        try:
            while self._waiting:
                # One turn of the loop lets everyone who asks now join.
                await asyncio.sleep(0)
                batch = {key: self._waiting.pop(key) for key in list(self._waiting)[: self._max_batch]}
                await self._answer(batch)
        finally:
            self._asking = None

    async def _answer(self, batch: dict[K, "asyncio.Future[V | None]"]) -> None:
        try:
            found = await self._ask(tuple(batch))
        except BaseException as error:
            for future in batch.values():
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else ConnectionError("the read was broken off"))
                    # Nobody may be left to hear of it.
                    future.exception()
            if not isinstance(error, Exception):
                raise
        else:
            for key, future in batch.items():
                if not future.done():
                    future.set_result(found.get(key))
