"""The SQL of decisions: all of them are written, or none."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.execution.repository.signals import Signal, Signals, Woken

# Whoever holds the row sees every answer that came before, and none comes meanwhile.
_LOCK = "SELECT end_time IS NULL FROM execution WHERE id = $1 FOR UPDATE"


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of decisions: they are written, and these runs are to be woken; or none is, since some were answered otherwise before, or
    since the run has ended.
    """

    woken: Woken | None = None
    conflicts: Sequence[Signal] = ()
    is_over: bool = False


class ReviewRepository:
    """Reads and writes decisions."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def answers(self, execution_id: str, waits: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
        """The answers (JSON text) to those of the waits, given as (firing index, wait number), that somebody gave. One statement."""
        pending = await Signals(self._pool).pending(execution_id, waits)
        return {(signal.firing, signal.wait): signal.answer for signal in pending.signals}

    async def decide(self, execution_id: str, signals: Sequence[Signal]) -> Decided:
        """Writes answers, all or none; one that was given before in the same words counts as written. One transaction."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_LOCK, execution_id):
                return Decided(is_over=True)
            inside = Signals(connection)
            before = (await inside.pending(execution_id, [(signal.firing, signal.wait) for signal in signals])).signals
            given = {(signal.firing, signal.wait): signal.answer for signal in signals}
            conflicts = [signal for signal in before if given[signal.firing, signal.wait] != signal.answer]
            if conflicts:
                return Decided(conflicts=conflicts)
            return Decided(woken=await inside.send([(execution_id, signal) for signal in signals]))
