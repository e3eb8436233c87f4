"""Entries of journals, and the statement that commits those of many runs.

It locks each run's row, checks the fence (`epoch`) and the position (`last_seq`) and only then writes: two workers can never both extend
one journal, and a journal never has a gap. The primary key stands behind that.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

# A statement that takes longer counts as lost; whether it was committed is found out afterwards.
_TIMEOUT_S = 10.0

# Events of runs that go on.
_BATCH_ONGOING = """
    SELECT b.id::uuid AS id, b.epoch, b.seq, b.count, b.events, b.progress
    FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::text[], $6::bool[]) AS b(id, epoch, seq, count, events, progress)
"""

# The same, of which some end or park their run.
_BATCH = """
    SELECT b.id::uuid AS id, b.epoch, b.seq, b.count, b.events, b.progress, b.status, b.outcome, b.outputs, b.stats, b.error, b.answer,
        b.parked, b.wake, b.seen, b.dead
    FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::text[], $6::bool[],
                $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bool[], $14::float8[], $15::int[],
                $16::bool[])
        AS b(id, epoch, seq, count, events, progress, status, outcome, outputs, stats, error, answer, parked, wake, seen, dead)
"""

_FENCE = "e.id = b.id AND e.epoch = b.epoch AND e.last_seq = b.seq - 1 AND e.status = 'RUNNING' AND e.worker_id <> ''"

_MOVE_ONGOING = f"""
WITH batch AS ({_BATCH_ONGOING}),
moved AS (
    UPDATE execution e SET
        last_seq = b.seq + b.count - 1,
        attempts = CASE WHEN b.progress THEN 1 ELSE e.attempts END,
        lease_until = now() + make_interval(secs => $7)
    FROM batch b WHERE {_FENCE}
    RETURNING e.id, b.seq, b.count, b.events
)"""  # noqa: S608 - composed of constants

# A run that parks while an answer or a wish to stop it comes in is due at once: neither is ever missed.
_MOVE = f"""
WITH batch AS ({_BATCH}),
moved AS (
    UPDATE execution e SET
        last_seq = b.seq + b.count - 1,
        attempts = CASE WHEN b.dead THEN e.attempts WHEN b.parked THEN 0 WHEN b.progress THEN 1 ELSE e.attempts END,
        lease_until = CASE WHEN b.status = '' THEN now() + make_interval(secs => $17) END,
        worker_id = CASE WHEN b.parked THEN '' ELSE e.worker_id END,
        wake_time = CASE WHEN NOT b.parked THEN NULL WHEN e.signals > b.seen OR e.cancel_requested THEN now()
            ELSE to_timestamp(b.wake) END,
        status = CASE WHEN b.status = '' THEN e.status ELSE b.status END,
        outcome = CASE WHEN b.status = '' THEN e.outcome ELSE b.outcome END,
        outputs = CASE WHEN b.status = '' THEN e.outputs ELSE b.outputs END,
        stats = CASE WHEN b.status = '' THEN e.stats ELSE b.stats END,
        error = CASE WHEN b.status = '' THEN e.error ELSE b.error END,
        answer = CASE WHEN b.answer = '' THEN e.answer ELSE b.answer END,
        letter_due = e.letter_due OR b.dead,
        end_time = CASE WHEN b.status = '' OR b.parked THEN e.end_time ELSE clock_timestamp() END
    FROM batch b WHERE {_FENCE}
    RETURNING e.id, b.seq, b.count, b.events
)"""  # noqa: S608

# A run may park with all its events written already.
_ADD_ROWS = """
added AS (
    INSERT INTO execution_event (execution_id, seq, count, events)
    SELECT id, seq, count, events FROM moved WHERE count > 0
)
SELECT id::text FROM moved
"""

_APPEND_ONGOING = f"{_MOVE_ONGOING},{_ADD_ROWS}"
_APPEND = f"{_MOVE},{_ADD_ROWS}"

# Most commits have no large values and are spared the looking.
_APPEND_WITH_VALUES = f"""{_MOVE},
kept AS (
    INSERT INTO execution_value (execution_id, sha256, size_bytes, content)
    SELECT v.id::uuid, v.sha256, v.size_bytes, v.content
    FROM unnest($18::text[], $19::text[], $20::int[], $21::text[]) AS v(id, sha256, size_bytes, content)
    JOIN moved m ON m.id = v.id::uuid
    ON CONFLICT DO NOTHING
),
{_ADD_ROWS}"""  # noqa: S608

# Whether a commit whose answer was lost did happen: our row is there, word for word, and the fence is still ours.
_WAS_COMMITTED = f"""
WITH batch AS ({_BATCH_ONGOING})
SELECT b.id::text FROM batch b
JOIN execution e ON e.id = b.id AND e.epoch = b.epoch
JOIN execution_event v ON v.execution_id = b.id AND v.seq = b.seq AND v.events = b.events
WHERE $7::float8 > 0
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended; goes into its row with its last event. `outputs` and `stats` are JSON text.

    `answer` is what the parent's firing is told (JSON text), for child runs. `is_dead` says that the run is given up and a dead letter is
    due.
    """

    status: str
    outcome: str
    outputs: str
    stats: str
    error: str = ""
    answer: str = ""
    is_dead: bool = False


@dataclass(frozen=True, slots=True)
class Parking:
    """How a run waits without a worker; goes into its row with its newest event, and ends the lease.

    `status` is RUNNING or REVIEW. `wake_time_us` is when it goes on without an answer (microseconds since 1970), None for never.
    `signals_seen` is `Pending.signals_seen` as the run last read it: an answer that came since wakes the run at once. `outputs` and
    `stats` are JSON text, as far as they go.
    """

    status: str
    wake_time_us: int | None
    signals_seen: int
    outputs: str
    stats: str


@dataclass(frozen=True, slots=True)
class Value:
    """A value too large for the journal, by its hash (hex). `content` is JSON text of `size_bytes` bytes of UTF-8."""

    sha256: str
    size_bytes: int
    content: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What one run adds to its journal: `count` events from `seq` on, as the text of a JSON array, and the values they refer to.

    `is_progress` says that a firing ended: the run does not merely start again and again.
    """

    execution_id: str
    epoch: int
    seq: int
    count: int
    events: str
    is_progress: bool = True
    ending: Ending | Parking | None = None
    values: Sequence[Value] = ()


_NOT_ENDED = Ending("", "", "", "", "")
_US_PER_S = 1_000_000


class Fetching(Protocol):
    """A pool, or a connection that is kept."""

    def fetch(self, query: str, *args: Any, timeout: float) -> Awaitable[Sequence[Any]]:
        """The rows that a query gives."""


async def append(database: Fetching, entries: Sequence[Entry], lease_s: float) -> set[str]:
    """Commits entries in one statement and returns the ids of the runs whose entry was accepted; the others are fenced off."""
    values = [(entry.execution_id, value.sha256, value.size_bytes, value.content) for entry in entries for value in entry.values]
    if values:
        columns = [list(column) for column in zip(*values, strict=True)]
        query, more = _APPEND_WITH_VALUES, [*_ends(entries), lease_s, *columns]
    elif any(entry.ending is not None for entry in entries):
        query, more = _APPEND, [*_ends(entries), lease_s]
    else:
        query, more = _APPEND_ONGOING, [lease_s]
    rows = await database.fetch(query, *_columns(entries), *more, timeout=_TIMEOUT_S)
    return {row[0] for row in rows}


async def find_committed(database: Fetching, entries: Sequence[Entry]) -> set[str]:
    """Returns the ids of the runs whose entry is in the journal already, as an earlier try of the same writer left it."""
    rows = await database.fetch(_WAS_COMMITTED, *_columns(entries), 1.0, timeout=_TIMEOUT_S)
    return {row[0] for row in rows}


def _columns(entries: Sequence[Entry]) -> tuple[list[object], ...]:
    return (
        [entry.execution_id for entry in entries],
        [entry.epoch for entry in entries],
        [entry.seq for entry in entries],
        [entry.count for entry in entries],
        [entry.events for entry in entries],
        [entry.is_progress for entry in entries],
    )


def _ends(entries: Sequence[Entry]) -> tuple[list[object], ...]:
    endings = [_ended(entry.ending) for entry in entries]
    parkings = [entry.ending if isinstance(entry.ending, Parking) else None for entry in entries]
    return (
        [ending.status for ending in endings],
        [ending.outcome for ending in endings],
        [ending.outputs for ending in endings],
        [ending.stats for ending in endings],
        [ending.error for ending in endings],
        [ending.answer for ending in endings],
        [parking is not None for parking in parkings],
        [None if parking is None or parking.wake_time_us is None else parking.wake_time_us / _US_PER_S for parking in parkings],
        [0 if parking is None else parking.signals_seen for parking in parkings],
        [ending.is_dead for ending in endings],
    )


def _ended(ending: Ending | Parking | None) -> Ending:
    if isinstance(ending, Parking):
        return Ending(ending.status, "", ending.outputs, ending.stats)
    return ending or _NOT_ENDED
