"""Runs a statement of SQLAlchemy's on the raw driver. For the few reads that every client makes all the time: a third of the time."""

from collections.abc import Mapping
from typing import Any, cast

import asyncpg
from sqlalchemy import Dialect, Select
from sqlalchemy.dialects.postgresql import asyncpg as dialect

_DIALECT = cast("type[Dialect]", dialect.dialect)
# A caller that waits longer for a connection is gone.
ACQUIRE_TIMEOUT_S = 1.0


class HotRead:
    """A statement, compiled once."""

    def __init__(self, statement: Select[Any]) -> None:
        """Every parameter must be bound by name when it runs."""
        compiled = statement.compile(dialect=_DIALECT())
        self._sql = str(compiled)
        self._order = tuple(compiled.positiontup or ())

    async def one(self, pool: asyncpg.Pool, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The first row by column name, or None."""
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            row = await connection.fetchrow(self._sql, *(values[name] for name in self._order))
        return cast("Mapping[str, Any] | None", row)
