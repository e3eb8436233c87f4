"""Dead letters: one message for each run that was given up, for people to look at."""

from dataclasses import asdict

import orjson

from mesh.bus import Bus
from mesh.logs import get_logger
from mesh.streams import DEAD_LETTER_RUN
from services.execution.repository.letters import DueLetters

_log = get_logger("execution.letters")


class Letters:
    """Sends what the rows say is due."""

    def __init__(self, due: DueLetters) -> None:
        self._due = due

    async def send_due(self, bus: Bus) -> None:
        """Sends `{execution_id, owner_id, reason, attempts}` for each; the stream drops a second one of the same run.

        Raises database and bus errors; what was not sent stays due.
        """
        letters = await self._due.find()
        for letter in letters:
            await bus.js.publish(DEAD_LETTER_RUN, orjson.dumps(asdict(letter)), headers={"Nats-Msg-Id": letter.execution_id})
            _log.error("dead_letter", execution_id=letter.execution_id, attempts=letter.attempts)
        if letters:
            await self._due.sent(letters)
