"""The SQL that reads journals: by position, from either end, and the values kept beside them."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import asyncpg

from services.execution.lines import Line, read_row, resolved

# The first row that matters is the one that holds `after_seq + 1`; rows are found by their first seq.
_AFTER = """
SELECT seq, count, events FROM execution_event
WHERE execution_id = $1 AND seq >= (
    SELECT coalesce(max(seq), 1) FROM execution_event WHERE execution_id = $1 AND seq <= $2 + 1
) AND seq + count > $2 + 1
ORDER BY seq LIMIT $3
"""

_BEFORE = "SELECT seq, count, events FROM execution_event WHERE execution_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3"

_AT = "SELECT seq, count, events FROM execution_event WHERE execution_id = $1 AND seq = ANY($2::int[]) ORDER BY seq"

# A line begins with its kind. What a value holds may look like one, so the caller looks again.
_WITH_KINDS = """
SELECT seq, count, events FROM execution_event
WHERE execution_id = $1 AND seq > $2 AND EXISTS (SELECT FROM unnest($3::text[]) beginning WHERE strpos(events, beginning) > 0)
ORDER BY seq LIMIT $4
"""

_VALUES = "SELECT sha256, content FROM execution_value WHERE execution_id = $1 AND sha256 = ANY($2::text[])"

# Rows in the first statement of a page, when nothing is known of them, and in any.
_FIRST_ROWS = 2
_MAX_ROWS = 500
_ROWS_WITH_KINDS = 16
_LAST_SEQ = 2**31 - 1
# A page of a journal with large values ends early, so that nobody holds a whole one in memory or in one message.
_PAGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One row of a journal: `count` events from `seq` on, as a JSON array."""

    seq: int
    count: int
    events: str


class JournalReads:
    """Reads journals. Every method is one statement, except where it says otherwise."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def events(self, execution_id: str, after_seq: int, limit: int) -> list[JournalRow]:
        """Journal rows with events after `after_seq`, in order: until they hold `limit` events or about _PAGE_BYTES, or the journal
        ends. None only when there is none. Several statements.
        """
        found: list[JournalRow] = []
        # No event has the greatest number that there is, and nothing can be added to it.
        missing, asked = limit if after_seq < _LAST_SEQ else 0, _FIRST_ROWS
        while missing > 0:
            rows = await self._rows(_AFTER, execution_id, after_seq, asked)
            found += rows
            if len(rows) < asked or _size(found) > _PAGE_BYTES:
                break
            missing -= sum(row.seq + row.count - 1 - max(after_seq, row.seq - 1) for row in rows)
            after_seq = rows[-1].seq + rows[-1].count - 1
            asked = _rows_for(missing, found)
        return found

    async def events_before(self, execution_id: str, before_seq: int, limit: int) -> list[JournalRow]:
        """The same from the other end: the last rows with events before `before_seq`, in order."""
        found: list[JournalRow] = []
        missing, asked = limit, _FIRST_ROWS
        while missing > 0:
            rows = await self._rows(_BEFORE, execution_id, before_seq, asked)
            found += rows
            if len(rows) < asked or _size(found) > _PAGE_BYTES:
                break
            missing -= sum(min(row.seq + row.count, before_seq) - row.seq for row in rows)
            before_seq = rows[-1].seq
            asked = _rows_for(missing, found)
        return found[::-1]

    async def events_at(self, execution_id: str, seqs: Sequence[int]) -> list[JournalRow]:
        """The rows that begin with these seqs, in order."""
        return await self._rows(_AT, execution_id, list(seqs))

    async def events_of_kinds(self, execution_id: str, after_seq: int, kinds: Collection[int]) -> list[JournalRow]:
        """The next rows that begin after `after_seq` and may hold events of these kinds; none only when there is none."""
        return await self._rows(_WITH_KINDS, execution_id, after_seq, [f"[{int(kind)}," for kind in kinds], _ROWS_WITH_KINDS)

    async def values(self, execution_id: str, hashes: Collection[str]) -> dict[str, str]:
        """Values kept beside the journal, by hash, as JSON text; what is not there is absent."""
        rows = await self._pool.fetch(_VALUES, execution_id, sorted(hashes))
        return {row[0]: row[1] for row in rows}

    async def lines(self, execution_id: str, row: JournalRow) -> list[Line]:
        """The lines of a row with all values in them. One statement when some are kept beside the journal, else none.

        Raises KeyError when one of them is missing.
        """
        lines = read_row(row.events)
        hashes = {line.ref for line in lines if line.ref}
        if not hashes:
            return lines
        contents = await self.values(execution_id, hashes)
        return [resolved(line, contents) for line in lines]

    async def _rows(self, statement: str, *arguments: object) -> list[JournalRow]:
        return [JournalRow(*row) for row in await self._pool.fetch(statement, *arguments)]


def _rows_for(events: int, known: Sequence[JournalRow]) -> int:
    """How many more rows hold so many events, or fill the page, when they are like those known. A row has one event or a thousand."""
    per_row = sum(row.count for row in known) / len(known)
    bytes_left = _PAGE_BYTES - _size(known)
    by_size = bytes_left * len(known) / max(_size(known), 1)
    return max(1, min(math.ceil(events / per_row), math.ceil(by_size), _MAX_ROWS))


def _size(rows: Sequence[JournalRow]) -> int:
    return sum(len(row.events) for row in rows)
