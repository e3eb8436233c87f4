"""What the auth service holds of a person: the account, its sessions and keys, and who it is to other providers."""

from collections.abc import AsyncIterator, Awaitable, Callable

from mesh.logs import get_logger
from mesh.personal_data import Piece, line
from services.auth.repository.persons import Persons

_log = get_logger("auth")


class AccountData:
    """Accounts of people. `announce` gets the ids of what has ended."""

    def __init__(self, persons: Persons, announce: Callable[[str], Awaitable[None]]) -> None:
        self._persons = persons
        self._announce = announce

    async def export(self, user_id: str) -> AsyncIterator[Piece]:
        """A file for each kind of thing; no secrets, nor what stands for one."""
        for name, rows in (await self._persons.everything(user_id)).items():
            yield Piece(f"{name}.ndjson", b"".join(map(line, rows)))

    async def erase(self, user_id: str) -> None:
        """Deletes the account; its sign-ins and keys end everywhere within moments."""
        ended = await self._persons.delete(user_id)
        for ended_id in (*ended, user_id):
            await self._announce(ended_id)
        _log.info("account_deleted", user_id=user_id)
