"""What services hold of people: each with tables says how it is exported and erased, and the mesh asks them all the same way.

An export is streamed, service by service, in the name of the person. Erasing goes by an event that each service answers by another.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Protocol

import orjson
from treadle.user.v1.personal_data_service_pb2 import ExportPersonalDataRequest, ExportPersonalDataResponse

from mesh.call import Call
from mesh.consumer import Reader, consuming
from mesh.errors import NotFoundError
from mesh.resources import Resources
from mesh.streams import DOMAIN_EVENTS, MESSAGE_ID

SERVICE = "treadle.user.v1.PersonalDataService"
# Somebody's account is to be deleted: `user_id` and `round`, which is 2 when it is asked again, for what came in late.
DELETION_REQUESTED = "treadle.event.user.deletion_requested"
# A service has erased all it held: the same, and `service`.
_ERASED = "treadle.event.{}.user_erased"
ANY_ERASED = _ERASED.format("*")

# So that one message fits through every door.
MAX_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file of an export; those of one file follow each other."""

    file: str
    content: bytes


class PersonalData(Protocol):
    """What a service holds of people."""

    def export(self, user_id: str) -> AsyncIterator[Piece]:
        """All of it, as the person may see it."""

    async def erase(self, user_id: str) -> None:
        """Deletes it; repeating that is safe. Raises NotYetError when something of it is still at work."""


class PersonalDataServicer:
    """The handler of PersonalDataService, for all services of a process."""

    def __init__(self, held: Mapping[str, PersonalData]) -> None:
        """`held` by the service's short name."""
        self._held = held

    async def export_personal_data(self, request: ExportPersonalDataRequest, call: Call) -> AsyncIterator[ExportPersonalDataResponse]:
        """What one service holds of the caller."""
        data = self._held.get(request.service)
        if data is None:
            raise NotFoundError("This process hosts no such service.", reason="SERVICE_NOT_HERE", metadata={"service": request.service})
        async for piece in data.export(call.caller.user_id):
            for start in range(0, max(len(piece.content), 1), MAX_PIECE_BYTES):
                yield ExportPersonalDataResponse(file=piece.file, content=piece.content[start : start + MAX_PIECE_BYTES])


def erasing(resources: Resources, service: str, data: PersonalData) -> AbstractAsyncContextManager[None]:
    """Erases what the service holds of accounts that are deleted, and says so, while the context lasts."""

    async def erase(_: str, body: bytes) -> None:
        request = orjson.loads(body)
        user_id, number = str(request["user_id"]), int(request["round"])
        await data.erase(user_id)
        answer = orjson.dumps({"user_id": user_id, "round": number, "service": service})
        headers = {MESSAGE_ID: f"erased:{service}:{user_id}:{number}"}
        await (await resources.bus()).js.publish(_ERASED.format(service), answer, headers=headers)

    return consuming(resources, Reader(DOMAIN_EVENTS, DELETION_REQUESTED, f"erase-{service}"), erase)


def services_with_data() -> frozenset[str]:
    """All installed services that keep tables, by their short names: those that must answer. Told by the package `migrations` beside
    their module, so that none of them need be loaded.
    """
    points = entry_points(group="treadle.services")
    return frozenset(point.name for point in points if find_spec(f"{point.module.rpartition('.')[0]}.migrations"))


def line(document: object) -> bytes:
    """A line of an `.ndjson` file. Takes times and ids too."""
    return orjson.dumps(document, default=str) + b"\n"
