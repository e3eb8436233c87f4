"""Named points where a test may stop, delay or break a worker. Inert unless a test arms them.

`journal.commit.before`, `journal.commit.after`: around each commit. `claim.before`, `claim.after`: around each claim.
`publish.before`: before committed events go to the bus. `node.start`: before a firing with effects runs.
"""

from collections.abc import Awaitable, Callable

Hook = Callable[[], Awaitable[None]]

_armed: dict[str, Hook] = {}


async def hook(name: str) -> None:
    """Runs what is armed at `name`; usually nothing."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            await action()


def arm(name: str, action: Hook | None) -> None:
    """Puts `action` at `name`; None takes it away again."""
    if action is None:
        _armed.pop(name, None)
    else:
        _armed[name] = action
