"""Dead letters that are due: set by the commit that gives a run up, and by nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

_TIMEOUT_S = 5.0

_DUE = "SELECT id::text, owner_id, error, attempts - 1 FROM execution WHERE letter_due LIMIT 100"
_SENT = "UPDATE execution SET letter_due = false WHERE id = ANY($1::text[]::uuid[])"


@dataclass(frozen=True, slots=True)
class Letter:
    """A run that was given up after so many attempts."""

    execution_id: str
    owner_id: str
    reason: str
    attempts: int


class DueLetters:
    """The letters that nobody has sent."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def find(self) -> list[Letter]:
        """Some of them."""
        return [Letter(*row) for row in await self._pool.fetch(_DUE, timeout=_TIMEOUT_S)]

    async def sent(self, letters: Sequence[Letter]) -> None:
        """These were sent."""
        await self._pool.execute(_SENT, [letter.execution_id for letter in letters], timeout=_TIMEOUT_S)
