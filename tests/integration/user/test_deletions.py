"""Deletions on PostgreSQL: in two rounds, until every service has answered."""

from datetime import timedelta

import pytest

from mesh.database import open_database
from mesh.errors import NotFoundError
from mesh.ids import uuid7
from mesh.settings import Settings
from services.user.privacy import Deletion
from services.user.privacy_repository import PrivacyRepository
from services.user.profile import NewProfile
from services.user.repository import Repository


async def test_a_deletion_is_asked_for_a_second_time_and_then_complete(migrated: Settings) -> None:
    database = await open_database(migrated, "user")
    repository, user_id, never = PrivacyRepository(database.pool, ["a", "b"]), uuid7(), timedelta(days=1)
    assert (await repository.request(user_id)).waiting_for(repository.services) == ["a", "b"]
    await repository.request(user_id)
    await repository.answered(user_id, 1, "a")
    assert await repository.ask_again(timedelta(), never) == 0
    await repository.answered(user_id, 1, "b")
    assert await repository.ask_again(never, never) == 0
    assert await repository.ask_again(timedelta(), never) == 1
    await repository.answered(user_id, 2, "a")
    # A late answer of the first round is none of the second.
    await repository.answered(user_id, 1, "b")
    assert (await _deletion(repository, user_id)).waiting_for(repository.services) == ["b"]
    assert await repository.ask_again(never, timedelta()) >= 1
    await repository.answered(user_id, 2, "b")
    assert (await _deletion(repository, user_id)).complete_time is not None
    await database.close()


async def _deletion(repository: PrivacyRepository, user_id: str) -> Deletion:
    [found] = [deletion for deletion in await repository.deletions(None, 100) if deletion.user_id == user_id]
    return found


async def test_a_profile_does_not_come_to_life_again(migrated: Settings) -> None:
    database = await open_database(migrated, "user")
    user_id = uuid7()
    await PrivacyRepository(database.pool, ["a"]).request(user_id)
    with pytest.raises(NotFoundError):
        await Repository(database.engine).get_or_create(NewProfile(user_id, "ann@example.com", "Ann"))
    await database.close()
