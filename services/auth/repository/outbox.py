"""Messages that wait for the bus."""

from collections.abc import Awaitable, Callable

from sqlalchemy import Integer, bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.tables import outbox

# Processes share the work: what one is sending another does not wait for.
_NEXT = select(outbox).order_by(outbox.c.id).limit(bindparam("size", type_=Integer)).with_for_update(skip_locked=True)

# Sends one message: its id, subject and body. Raises when the bus did not take it.
Send = Callable[[str, str, str], Awaitable[None]]


class Outbox:
    """The outbox in PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def drain(self, size: int, send: Send) -> int:
        """Sends up to `size` messages and forgets them; how many. They stay when one of them cannot be sent."""
        async with self._engine.begin() as connection:
            rows = (await connection.execute(_NEXT, {"size": size})).all()
            for row in rows:
                await send(str(row.id), row.subject, row.body)
            if rows:
                await connection.execute(delete(outbox).where(outbox.c.id.in_([row.id for row in rows])))
        return len(rows)
