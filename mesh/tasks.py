"""The end of tasks.

`asyncio.wait_for` before Python 3.12 swallows a cancellation that comes together with the result, and libraries of ours use it: their
caller goes on as if nothing had been said. So a cancelled task that does not end is asked again.
"""

import asyncio
import logging
import time
from typing import Any

# Not ours: the supervisor does without all that ours needs.
_log = logging.getLogger(__name__)

# A task that missed its cancellation and one that tidies up look the same from outside: only time tells. So long may tidying up take; one
# that misses its cancellation ends so much later.
ASK_AGAIN_S = 3.0
TRIES = 4


async def end(*tasks: "asyncio.Task[Any]", ask_again_s: float = ASK_AGAIN_S, tries: int = TRIES) -> None:
    """Cancels tasks and returns when they have ended. What they raised stays in them; one that never heeds is logged and left behind.

    Who is cancelled while they wait here stays until then: whoever asks a task again that ends others does not cut them off. A task that
    ends others should not be given less time than these are.
    """
    pending = {task for task in tasks if not task.done()}
    cut: asyncio.CancelledError | None = None
    for _ in range(tries):
        for task in pending:
            task.cancel()
        until = time.monotonic() + ask_again_s
        while pending and (left_s := until - time.monotonic()) > 0:
            try:
                _, pending = await asyncio.wait(pending, timeout=left_s)
            except asyncio.CancelledError as error:
                cut = error
                pending = {task for task in pending if not task.done()}
    for task in pending:
        _log.error("task %s does not end", task.get_name())
    for task in set(tasks) - pending:
        if not task.cancelled():
            # Whoever wants it has it already; asyncio would call it unnoticed.
            task.exception()
    if cut is not None:
        raise cut
