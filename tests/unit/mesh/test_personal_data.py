"""No service holds data of people and says nothing about it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points

import pytest
from treadle.user.v1.personal_data_service_pb2 import ExportPersonalDataRequest

from mesh.call import Call, Caller
from mesh.contract import ContractError, methods
from mesh.errors import NotFoundError
from mesh.host import personal_data
from mesh.personal_data import MAX_PIECE_BYTES, SERVICE, PersonalDataServicer, Piece, services_with_data
from mesh.resources import Resources
from mesh.service import Running, Service

EXPORT = methods()[f"/{SERVICE}/ExportPersonalData"]


class Notes:
    """Holds one large note of everybody."""

    async def export(self, user_id: str) -> AsyncIterator[Piece]:
        """The note, whoever asks."""
        yield Piece("notes.txt", user_id.encode() * MAX_PIECE_BYTES)

    async def erase(self, user_id: str) -> None:
        """Nothing to do."""


@asynccontextmanager
async def _build(_: Resources) -> AsyncIterator[Running]:
    yield Running()


def test_a_service_with_tables_must_say_what_it_holds() -> None:
    with pytest.raises(ContractError, match="notes"):
        personal_data([Service("notes", _build, migrations="notes.migrations")], [Running()])
    assert list(personal_data([Service("gateway", _build)], [Running()])) == []
    notes = Notes()
    assert personal_data([Service("notes", _build, migrations="notes.migrations")], [Running(personal_data=notes)]) == {"notes": notes}


def test_all_services_with_tables_are_asked() -> None:
    known = {point.name: point.load() for point in entry_points(group="treadle.services")}
    assert services_with_data() == {name for name, service in known.items() if service.migrations}
    assert {"auth", "user", "graph", "execution", "audit"} <= services_with_data()


def _call() -> Call:
    return Call(EXPORT, {}, 0.0, caller=Caller("u"))


async def test_large_files_come_in_pieces_and_are_the_callers_own() -> None:
    servicer = PersonalDataServicer({"notes": Notes()})
    answers = [answer async for answer in servicer.export_personal_data(ExportPersonalDataRequest(service="notes"), _call())]
    assert [(answer.file, len(answer.content)) for answer in answers] == [("notes.txt", MAX_PIECE_BYTES)]
    assert set(answers[0].content) == set(b"u")


async def test_a_process_answers_only_for_its_own_services() -> None:
    servicer = PersonalDataServicer({})
    with pytest.raises(NotFoundError) as caught:
        await anext(aiter(servicer.export_personal_data(ExportPersonalDataRequest(service="graph"), _call())))
    assert caught.value.reason == "SERVICE_NOT_HERE"
