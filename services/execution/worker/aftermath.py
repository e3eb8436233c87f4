"""What follows from the commit that parks or ends a run: timers, parents, children, dead letters.

None of it is part of the commit. It is done at once by the worker that committed, and by any worker's sweep when that one was cut off.
"""

import nats.errors

from mesh.group_commit import GroupCommit
from mesh.logs import get_logger
from services.execution.cancellation import stop
from services.execution.errors import DATABASE_AWAY
from services.execution.hooks import hook
from services.execution.notices import Notices
from services.execution.repository.claims import Claims
from services.execution.repository.entries import Ending, Entry, Parking
from services.execution.repository.tree import Tree
from services.execution.worker.letters import Letters

_log = get_logger("execution.aftermath")

# Ends after which nobody needs the children any more; after a COMPLETED one there are none.
_DROPS_CHILDREN = frozenset({"FAILED", "TERMINATED"})
_AWAY = (*DATABASE_AWAY, nats.errors.Error)


class Aftermath:
    """Does what commits call for, in batches."""

    def __init__(self, tree: Tree, letters: Letters, claims: Claims, notices: Notices) -> None:
        self._tree = tree
        self._letters = letters
        self._claims = claims
        self._notices = notices
        self._group: GroupCommit[Entry] = GroupCommit(self._follow)

    def add(self, entry: Entry) -> None:
        """Takes a committed entry that parks or ends its run. Returns at once."""
        if not isinstance(entry.ending, Ending) or entry.ending.answer or entry.ending.is_dead or entry.ending.status in _DROPS_CHILDREN:
            self._group.add(entry)

    async def run(self) -> None:
        """Follows up until cancelled."""
        await self._group.run()

    async def drain(self) -> None:
        """Returns when everything added is done, or left to the sweep."""
        await self._group.drain()

    async def sweep(self) -> None:
        """Does what nobody has done: parents to tell, runs to stop, letters to send. Raises database errors."""
        await self._notices.signalled(await self._tree.tell_parents())
        left = await self._tree.left_to_stop()
        if left:
            await stop(self._tree, self._notices, left)
        bus = self._notices.bus
        if bus is not None and bus.is_connected:
            await self._letters.send_due(bus)

    async def _follow(self, entries: list[Entry]) -> None:
        try:
            await self._after_parking([entry for entry in entries if isinstance(entry.ending, Parking)])
            await self._after_ending([(entry.execution_id, entry.ending) for entry in entries if isinstance(entry.ending, Ending)])
        except _AWAY as error:
            _log.warning("aftermath_left_to_sweep", runs=len(entries), error=type(error).__name__)
        except Exception as error:  # noqa: BLE001,RUF100 - the sweep tries again; the loop goes on
            _log.error("aftermath_failed", exc_info=error)

    async def _after_parking(self, entries: list[Entry]) -> None:
        if not entries:
            return
        await hook("park.after")
        # An answer may have come while the run parked, told to a worker that had already let go.
        await self._notices.bell.wake(await self._claims.due([entry.execution_id for entry in entries]))
        for entry in entries:
            if isinstance(entry.ending, Parking) and entry.ending.wake_time_us is not None:
                await self._notices.bell.wake_at(entry.execution_id, entry.ending.wake_time_us)

    async def _after_ending(self, ended: list[tuple[str, Ending]]) -> None:
        answered = [execution_id for execution_id, ending in ended if ending.answer]
        if answered:
            await self._notices.signalled(await self._tree.tell_parents(answered))
        dropped = [execution_id for execution_id, ending in ended if ending.status in _DROPS_CHILDREN]
        children = await self._tree.open_children(dropped) if dropped else []
        if children:
            await stop(self._tree, self._notices, children)
        bus = self._notices.bus
        if bus is not None and bus.is_connected and any(ending.is_dead for _, ending in ended):
            await self._letters.send_due(bus)
