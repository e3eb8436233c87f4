"""Reads that are gathered: one query for all who ask at once, and no answer older than its question."""

import asyncio
from collections.abc import Sequence

import pytest

from mesh.gathered import Gathered


class Table:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.queries: list[Sequence[str]] = []
        self.value = 0
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def ask(self, keys: Sequence[str]) -> dict[str, int]:
        self.queries.append(keys)
        self.asked.set()
        seen = self.value
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {key: seen for key in keys if key != "missing"}


async def test_all_who_ask_at_once_share_a_query() -> None:
    table = Table()
    read = Gathered(table.ask)
    found = await asyncio.gather(*(read.get(key) for key in ("a", "b", "a", "missing")))
    assert found == [0, 0, 0, None]
    assert table.queries == [("a", "b", "missing")]


async def test_who_asks_while_a_query_is_at_work_gets_a_later_answer() -> None:
    table = Table()
    read = Gathered(table.ask)
    table.gate.clear()
    early = asyncio.create_task(read.get("a"))
    await table.asked.wait()
    table.value = 1
    late = asyncio.create_task(read.get("a"))
    await asyncio.sleep(0)
    table.gate.set()
    assert await early == 0
    assert await late == 1


async def test_a_batch_is_bounded() -> None:
    table = Table()
    read = Gathered(table.ask, max_batch=2)
    await asyncio.gather(*(read.get(str(number)) for number in range(5)))
    assert [len(query) for query in table.queries] == [2, 2, 1]


async def test_a_failed_query_fails_those_who_waited_and_nobody_else() -> None:
    table = Table()
    read = Gathered(table.ask)
    table.error = OSError("away")
    with pytest.raises(OSError, match="away"):
        await read.get("a")
    table.error = None
    assert await read.get("a") == 0


async def test_one_who_leaves_does_not_take_the_answer_along() -> None:
    table = Table()
    read = Gathered(table.ask)
    table.gate.clear()
    leaves, stays = asyncio.create_task(read.get("a")), asyncio.create_task(read.get("a"))
    await table.asked.wait()
    leaves.cancel()
    table.gate.set()
    assert await stays == 0
    assert leaves.cancelled() or leaves.cancelling()
