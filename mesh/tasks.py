"""The end of tasks.

`asyncio.wait_for` before Python 3.12 swallows a cancellation that comes together with the result, and libraries of ours use it: their
caller goes on as if nothing had been said. So a cancelled task that does not end is asked again.
"""

import asyncio
import logging
from typing import Any

# Not ours: the supervisor does without all that ours needs.
_log = logging.getLogger(__name__)

# Long enough for what a task does at its end.
ASK_AGAIN_S = 1.0
TRIES = 10


async def end(*tasks: "asyncio.Task[Any]", ask_again_s: float = ASK_AGAIN_S, tries: int = TRIES) -> None:
    """Cancels tasks and returns when they have ended. What they raised stays in them; one that never heeds is logged and left behind."""
    pending = {task for task in tasks if not task.done()}
    for _ in range(tries):
        if not pending:
            break
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ask_again_s)
    for task in pending:
        _log.error("task %s does not end", task.get_name())
    for task in set(tasks) - pending:
        if not task.cancelled():
            # Whoever wants it has it already; asyncio would call it unnoticed.
            task.exception()
