"""Profiles on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mesh.database import open_database
from mesh.errors import EtagMismatchError
from mesh.ids import uuid7
from mesh.settings import Settings
from services.user.profile import NewProfile
from services.user.repository import Repository


@pytest_asyncio.fixture
async def repository(migrated: Settings) -> AsyncIterator[Repository]:
    """The repository on the real database."""
    database = await open_database(migrated, "user")
    yield Repository(database.engine)
    await database.close()


def _somebody() -> NewProfile:
    return NewProfile(uuid7(), "ann@example.com", "Ann")


async def test_the_first_read_makes_the_profile_and_later_ones_find_it(repository: Repository) -> None:
    new = _somebody()
    made = await repository.get_or_create(new)
    assert (made.id, made.email, made.display_name, made.timezone) == (new.id, new.email, "Ann", "UTC")
    assert made.create_time == made.update_time
    assert await repository.get_or_create(NewProfile(new.id, "other@example.com", "Other")) == made


async def test_first_reads_at_once_make_one_profile(repository: Repository) -> None:
    new = _somebody()
    made = await asyncio.gather(*(repository.get_or_create(new) for _ in range(4)))
    assert len(set(made)) == 1


async def test_an_update_changes_only_what_it_names(repository: Repository) -> None:
    new = _somebody()
    made = await repository.get_or_create(new)
    changed = await repository.update(new.id, {"timezone": "Europe/Berlin"})
    assert changed is not None
    assert (changed.display_name, changed.timezone, changed.create_time) == ("Ann", "Europe/Berlin", made.create_time)
    assert changed.update_time > made.update_time
    assert await repository.get_or_create(new) == changed


async def test_of_two_who_change_what_they_saw_one_is_told_that_it_changed(repository: Repository) -> None:
    new = _somebody()
    seen = (await repository.get_or_create(new)).etag
    changes = [{"display_name": "Anna"}, {"timezone": "Asia/Tokyo"}]
    outcomes = await asyncio.gather(*(repository.update(new.id, change, seen) for change in changes), return_exceptions=True)
    assert sorted(isinstance(outcome, EtagMismatchError) for outcome in outcomes) == [False, True]
    assert await repository.update(new.id, {"display_name": "Ann"}, "*") is not None


async def test_a_stale_etag_is_refused_also_when_nothing_would_change(repository: Repository) -> None:
    new = _somebody()
    made = await repository.get_or_create(new)
    assert await repository.update(new.id, {}, made.etag) == made
    with pytest.raises(EtagMismatchError):
        await repository.update(new.id, {}, '"other"')


async def test_what_is_not_there_is_neither_found_nor_changed(repository: Repository) -> None:
    new = _somebody()
    assert await repository.update(new.id, {"display_name": "Anna"}) is None
    assert await repository.find(new.id) is None
