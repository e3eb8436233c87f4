"""What the audit log holds of a person: what they did, and what was done as them."""

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
    """A record, without where an administrator was who acted for the person: that is the administrator's."""
    document: dict[str, Any] = orjson.loads(body)
    return document if document["actor_id"] == user_id else {**document, "source_address": "", "session_id": ""}
