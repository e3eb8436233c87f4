"""What the user service itself holds of a person."""

from collections.abc import AsyncIterator

from mesh.personal_data import Piece, line
from services.user.privacy_repository import PrivacyRepository


class UserData:
    """Profiles and consents of people."""

    def __init__(self, repository: PrivacyRepository) -> None:
        self._repository = repository

    async def export(self, user_id: str) -> AsyncIterator[Piece]:
        """A file for each kind of thing."""
        for name, rows in (await self._repository.everything(user_id)).items():
            yield Piece(f"{name}.ndjson", b"".join(map(line, rows)))

    async def erase(self, user_id: str) -> None:
        """Deletes both."""
        await self._repository.erase(user_id)
