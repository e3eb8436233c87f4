"""The journal of all runs of one worker: what happened, committed in order, by the holder of the lease only.

At most one statement is in flight (`entries.append`); what comes meanwhile goes with the next.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import asyncpg

from mesh.database import KeptConnection
from mesh.group_commit import GroupCommit
from mesh.logs import get_logger
from services.execution.errors import DATABASE_AWAY
from services.execution.hooks import hook
from services.execution.repository.entries import Entry, append, find_committed
from services.execution.worker.rounds import Rounds

_log = get_logger("execution.journal")

_COMMIT = "commit"

# From the end of a commit a run takes so many turns of the loop to its next events: its block runs, then the run goes on.
_TURNS = 5
# A longer pause only delays the recovery; the database refuses cheaply while it is down.
_RETRY_PAUSE_S = 0.25


class Author(Protocol):
    """A run that writes a journal."""

    def take_entry(self) -> Entry | None:
        """Hands over what is not written yet; None when there is nothing."""

    def on_committed(self, entry: Entry) -> None:
        """`entry` is durable. Must not block."""

    def on_fenced(self) -> None:
        """Another holds the lease, or the run has ended: nothing of this author's will ever be written again."""


class Journal:
    """Writes the journals of one worker's runs: at most one statement in flight, which carries everything new."""

    def __init__(
        self, pool: asyncpg.Pool, lease_s: float, *, on_last: Callable[[Entry], None] = lambda _: None, rounds: Rounds | None = None
    ) -> None:
        """`lease_s` is what each commit adds to the lease. `on_last` gets each committed entry that parks or ends its run. `rounds` hears
        of each commit.
        """
        self._rounds = rounds or Rounds()
        self._connection = KeptConnection(pool)
        self._lease_s = lease_s
        self._on_last = on_last
        self._dirty: set[Author] = set()
        self._group: GroupCommit[Author] = GroupCommit(self._commit, turns=_TURNS)

    def add(self, author: Author) -> None:
        """Notes that `author` has something to write. Returns at once; further events until the commit starts go with it."""
        if author not in self._dirty:
            self._dirty.add(author)
            self._group.add(author)

    async def run(self) -> None:
        """Writes until cancelled."""
        try:
            await self._group.run()
        finally:
            await self._connection.give_back()

    async def drain(self) -> None:
        """Returns when everything added is durable or refused."""
        await self._group.drain()

    async def _commit(self, authors: list[Author]) -> None:
        pairs: list[tuple[Author, Entry]] = []
        for author in authors:
            self._dirty.discard(author)
            entry = author.take_entry()
            if entry is not None:
                pairs.append((author, entry))
        if not pairs:
            return
        # One order for all writers, so that two of them never wait for each other's rows.
        pairs.sort(key=lambda pair: pair[1].execution_id)
        self._rounds.done(_COMMIT)
        kept = await self._write_surely([entry for _, entry in pairs])
        self._rounds.rests(_COMMIT)
        for author, entry in pairs:
            if entry.execution_id in kept:
                author.on_committed(entry)
                if entry.ending is not None:
                    self._on_last(entry)
            else:
                author.on_fenced()

    async def _write_surely(self, entries: Sequence[Entry]) -> set[str]:
        """Repeats the write until the database answers. Returns the ids of the runs whose entries are durable."""
        is_repeat = False
        while True:
            try:
                await hook("journal.commit.before")
                kept = await append(self._connection, entries, self._lease_s)
                if is_repeat and len(kept) < len(entries):
                    kept |= await find_committed(self._connection, [entry for entry in entries if entry.execution_id not in kept])
                await hook("journal.commit.after")
            except DATABASE_AWAY as error:
                if not is_repeat:
                    _log.warning("journal_waits_for_database", entries=len(entries), error=type(error).__name__)
                is_repeat = True
                await asyncio.sleep(_RETRY_PAUSE_S)
            except Exception as error:  # noqa: BLE001,RUF100 - one entry that the database refuses must not stop the others
                if len(entries) == 1:
                    _log.error("journal_entry_refused", execution_id=entries[0].execution_id, exc_info=error)
                    return set()
                return set().union(*[await self._write_surely([entry]) for entry in entries])
            else:
                return kept
