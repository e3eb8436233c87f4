"""Named points where a test may stop, delay or break a worker. Inert unless a test arms them.

`claim.before`, `claim.after`: around each claim by message. `journal.commit.before`, `journal.commit.after`: around each commit.
`publish.before`, `publish.after`: around the way of committed events to the bus. `ack.before`: after a claim, before its messages are
acknowledged. `park.after`: after the commit by which a run parks. `node.start`: before a firing that waits for its commit runs.

A test in the same process arms a function. One outside names a plan in `TREADLE_TEST_HOOKS`: `point:action[:n]`, comma-separated; the
action happens when the point is passed for the n-th time (the first when left out) and is `kill` (SIGKILL to the own process), `stop`
(SIGSTOP), or `sleep=<seconds>` (each time from the n-th on).
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

Hook = Callable[[], Awaitable[None]]

POINTS = frozenset(
    {
        "claim.before", "claim.after", "journal.commit.before", "journal.commit.after", "publish.before", "publish.after", "ack.before",
        "park.after", "node.start",
    }
)  # fmt: skip

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

_armed: dict[str, Hook] = {}


async def hook(name: str) -> None:
    """Runs what is armed at `name`; usually nothing."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            await action()


def is_armed(name: str) -> bool:
    """Whether something is armed at `name`."""
    return name in _armed


def arm(name: str, action: Hook | None) -> None:
    """Puts `action` at `name`; None takes it away again. Raises ValueError for a point that is not there."""
    if name not in POINTS:
        raise ValueError(f"there is no hook point {name}")
    if action is None:
        _armed.pop(name, None)
    else:
        _armed[name] = action


def arm_plan(plan: str) -> None:
    """Arms what a plan says. Raises ValueError when it cannot be read."""
    for item in filter(None, plan.split(",")):
        name, action, count = (*item.split(":"), "1")[:3]
        arm(name, _action(action, int(count)))


def _action(text: str, first: int) -> Hook:
    verb, _, seconds = text.partition("=")
    passed = 0

    async def act() -> None:
        nonlocal passed
        passed += 1
        if verb == "sleep" and passed >= first:
            await asyncio.sleep(float(seconds))
        elif verb != "sleep" and passed == first:
            os.kill(os.getpid(), _SIGNALS[verb])

    if verb != "sleep" and verb not in _SIGNALS:
        raise ValueError(f"a hook cannot {verb}")
    return act
