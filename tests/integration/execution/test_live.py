"""Who watches a run that was just created is served from what the bus brings; the journal is only for those whom that does not serve."""

import asyncio
from typing import Any

import pytest
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh.ids import uuid7
from services.block.sdk import BlockRegistry
from services.execution import live
from services.execution.history import History
from services.execution.live import LiveRuns
from services.execution.notices import Notices
from services.execution.repository.executions import Record
from services.execution.snapshots import Snapshots
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import chain


class Watching:
    """A service's memory of new runs, and how often it has asked the journal."""

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.live = LiveRuns()
        self.asked = 0
        self._history = History(lab.repository, Snapshots(lab.repository, BlockRegistry.installed()), self.live)
        lab.notices = Notices(lab.publisher, self.live)
        events = lab.repository.events

        async def counted(*arguments: Any) -> Any:
            self.asked += 1
            return await events(*arguments)

        monkeypatch.setattr(lab.repository, "events", counted)

    async def start(self) -> Record:
        """A new run."""
        self.lab.notices.attach(await self.lab.resources.bus())
        return (await self.lab.create(await self.lab.graph(chain(5)), X=1)).record

    async def watch(self, record: Record, after_seq: int = 0) -> list[pb.Event]:
        """The run's events to the end."""
        batches = self._history.watch(record, after_seq, self.lab.notices.bus)
        return [event async for batch in batches for event in batch]


@pytest.fixture
def watching(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Watching:
    """Nobody has asked yet."""
    return Watching(lab, monkeypatch)


async def test_a_new_run_is_watched_without_the_journal(watching: Watching) -> None:
    record = await watching.start()
    async with watching.lab.worker():
        whole = await watching.watch(record)
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    assert whole[-1].kind == pb.EVENT_KIND_EXECUTION_COMPLETED
    assert await watching.watch(record, 7) == whole[7:]
    assert watching.asked == 0
    assert await watching.watch(record, len(whole)) == []
    assert watching.live.get(record.id, record.owner_id) is not None
    assert watching.live.get(record.id, uuid7()) is None


async def test_a_run_too_large_to_remember_is_completed_from_the_journal(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_RUN_BYTES", 10)
    record = await watching.start()
    reading = asyncio.create_task(watching.watch(record))
    async with watching.lab.worker():
        seen = await reading
    ended = await watching.lab.ended(record.id)
    assert [event.seq for event in seen] == list(range(1, ended.last_seq + 1))
    assert watching.asked > 0
    assert watching.live.get(record.id, record.owner_id) is None
