"""Executions go, by owner or by age, with all that belongs to them and nothing else."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest_asyncio

from mesh.database import Database, open_database
from mesh.ids import uuid7
from mesh.settings import Settings
from services.execution.repository.erasure import Erasure

_NOW = dt.datetime.now(dt.UTC)
_OLD = _NOW - dt.timedelta(days=3650)
_HORIZON = _NOW - dt.timedelta(days=3000)

_EXECUTION = """
INSERT INTO execution (id, owner_id, graph_id, graph_version, status, inputs, input_masks, last_seq, end_time, root_id)
VALUES ($1, $2, 'g', 1, $3, '{}', '{}', 1, $4, $5)
"""
_PARTS = (
    "INSERT INTO execution_event (execution_id, seq, count, events) VALUES ($1, 1, 1, '[]')",
    "INSERT INTO execution_signal (execution_id, firing, wait, answer) VALUES ($1, 0, 0, '{}')",
    "INSERT INTO execution_value (execution_id, sha256, size_bytes, content) VALUES ($1, 'x', 1, '1')",
)
_COUNT = """
SELECT (SELECT count(*) FROM execution_event WHERE execution_id = $1) + (SELECT count(*) FROM execution_signal WHERE execution_id = $1)
    + (SELECT count(*) FROM execution_value WHERE execution_id = $1)
"""


@pytest_asyncio.fixture
async def database(migrated: Settings) -> AsyncIterator[Database]:
    """The database as the execution service sees it."""
    opened = await open_database(migrated, "execution")
    yield opened
    await opened.close()


async def _add(database: Database, owner_id: str, end_time: dt.datetime | None, root_id: str | None = None) -> str:
    # What has not ended is parked, so that no worker of another test takes it.
    execution_id, status = uuid7(), "COMPLETED" if end_time else "REVIEW"
    await database.pool.execute(_EXECUTION, execution_id, owner_id, status, end_time, root_id)
    for statement in _PARTS:
        await database.pool.execute(statement, execution_id)
    return execution_id


async def _left(database: Database, owner_id: str) -> set[str]:
    return {row[0] for row in await database.pool.fetch("SELECT id::text FROM execution WHERE owner_id = $1", owner_id)}


async def test_an_owners_ended_executions_go_with_all_their_parts(database: Database) -> None:
    ann, bob, erasure = uuid7(), uuid7(), Erasure(database.pool)
    ended, open_one, bobs = await _add(database, ann, _NOW), await _add(database, ann, None), await _add(database, bob, _NOW)
    assert await erasure.unfinished(ann) == [open_one]
    assert await erasure.delete_of(ann) == 1
    assert (await _left(database, ann), await _left(database, bob)) == ({open_one}, {bobs})
    assert [await database.pool.fetchval(_COUNT, it) for it in (ended, open_one, bobs)] == [0, 3, 3]
    assert await erasure.delete_of(ann) == 0


async def test_by_age_a_child_stays_as_long_as_the_run_at_the_top(database: Database) -> None:
    ann, erasure = uuid7(), Erasure(database.pool)
    old, young, unfinished = await _add(database, ann, _OLD), await _add(database, ann, _NOW), await _add(database, ann, None)
    of_old = await _add(database, ann, _OLD, old)
    of_young, of_unfinished = await _add(database, ann, _OLD, young), await _add(database, ann, _OLD, unfinished)
    while await erasure.delete_before(_HORIZON):
        pass
    assert await _left(database, ann) == {young, unfinished, of_young, of_unfinished}
    assert await database.pool.fetchval(_COUNT, of_old) == 0
