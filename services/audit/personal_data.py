"""What the audit log holds of a person: what they did, what was done as them, and to their account."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from mesh.personal_data import Piece, line
from services.audit.repository import Repository

_FILE = "records.ndjson"


class AuditData:
    """Records of people."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def export(self, user_id: str) -> AsyncIterator[Piece]:
        """All records, one a line."""
        async for page in self._repository.pages_of(user_id):
            yield Piece(_FILE, b"".join(line(_shown(entry.body, user_id)) for entry in page))

    async def erase(self, user_id: str) -> None:
        """Deletes nothing: a log that forgets on demand proves nothing. Records hold ids and addresses only, and go by their age."""


def _shown(body: str, user_id: str) -> Mapping[str, Any]:
    """A record, without where somebody else was who did it. A sign-in has no actor yet, and is the person's own."""
    document: dict[str, Any] = orjson.loads(body)
    return document if document["actor_id"] in {user_id, ""} else {**document, "source_address": "", "session_id": ""}
