"""Several requests in one call, for callers that would else make one call for each."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from mesh.call import Call
from mesh.errors import NotFoundError

Q = TypeVar("Q")
A = TypeVar("A")

# Requests of one call that are at work at the same time; the others of the process want connections too.
MAX_AT_ONCE = 8


async def answer_each(handler: Callable[[Q, Call], Awaitable[A]], requests: Iterable[Q], call: Call) -> list[A | None]:
    """The answers in the order of the requests; None for what is not found. Any other error is raised, once all work has stopped."""
    room = asyncio.Semaphore(MAX_AT_ONCE)

    async def answer(request: Q) -> A | None:
        async with room:
            try:
                # Headers are for an answer that stands alone.
                return await handler(request, replace(call, response_headers={}))
            except NotFoundError:
                return None

    tasks = [asyncio.create_task(answer(request), name="batch") for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
