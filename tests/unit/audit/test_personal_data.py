"""What people see of the log."""

from collections.abc import AsyncIterator
from typing import Any, cast

import orjson

from services.audit.ledger import Entry
from services.audit.personal_data import AuditData
from services.audit.repository import Repository


class _Log:
    async def pages_of(self, _: str) -> AsyncIterator[list[Entry]]:
        own = {"actor_id": "ann", "user_id": "ann", "source_address": "10.0.0.1", "session_id": "s-1"}
        for_ann = {"actor_id": "admin", "user_id": "ann", "source_address": "10.0.0.2", "session_id": "s-2"}
        yield [Entry(1, "", orjson.dumps(own).decode()), Entry(2, "", orjson.dumps(for_ann).decode())]


async def test_people_see_who_acted_for_them_but_not_from_where() -> None:
    pieces = [piece async for piece in AuditData(cast(Repository, cast(Any, _Log()))).export("ann")]
    shown = [orjson.loads(line) for piece in pieces for line in piece.content.splitlines()]
    assert [(record["actor_id"], record["source_address"]) for record in shown] == [("ann", "10.0.0.1"), ("admin", "")]
    assert shown[1]["session_id"] == ""
