"""Dead letters: one message for each run that was given up, for people to look at."""

import asyncpg
import orjson

from mesh.bus import Bus
from mesh.logs import get_logger
from mesh.streams import DEAD_LETTER_RUN

_log = get_logger("execution.letters")

_TIMEOUT_S = 5.0

_DUE = "SELECT id::text, owner_id, error, attempts - 1 FROM execution WHERE letter_due LIMIT 100"
_SENT = "UPDATE execution SET letter_due = false WHERE id = ANY($1::text[]::uuid[])"


class Letters:
    """Sends what the rows say is due. The commit that gives a run up makes the letter due; nothing else does."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def send_due(self, bus: Bus) -> None:
        """Sends `{execution_id, owner_id, reason, attempts}` for each; the stream drops a second one of the same run.

        Raises database and bus errors; what was not sent stays due.
        """
        rows = await self._pool.fetch(_DUE, timeout=_TIMEOUT_S)
        for execution_id, owner_id, reason, attempts in rows:
            letter = {"execution_id": execution_id, "owner_id": owner_id, "reason": reason, "attempts": attempts}
            await bus.js.publish(DEAD_LETTER_RUN, orjson.dumps(letter), headers={"Nats-Msg-Id": execution_id})
            _log.error("dead_letter", execution_id=execution_id, attempts=attempts)
        if rows:
            await self._pool.execute(_SENT, [row[0] for row in rows], timeout=_TIMEOUT_S)
