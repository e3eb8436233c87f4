"""Group commit: one batch in flight, the next gathers meanwhile."""

import asyncio

from mesh.group_commit import GroupCommit


class Store:
    """Commits when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.began = asyncio.Event()

    async def commit(self, batch: list[int]) -> None:
        self.began.set()
        await self.gate.wait()
        self.batches.append(batch)


async def test_what_comes_during_a_commit_goes_together() -> None:
    store = Store()
    group = GroupCommit(store.commit, max_batch=5)
    task = asyncio.create_task(group.run())
    group.add(1)
    await store.began.wait()
    for item in range(2, 10):
        group.add(item)
    store.gate.set()
    await group.drain()
    task.cancel()
    assert store.batches == [[1], [2, 3, 4, 5, 6], [7, 8, 9]]


async def test_what_is_ready_at_once_goes_together() -> None:
    store = Store()
    store.gate.set()
    group = GroupCommit(store.commit)
    task = asyncio.create_task(group.run())
    await asyncio.gather(*(asyncio.to_thread(lambda: None) for _ in range(2)))
    for item in range(3):
        group.add(item)
    await group.drain()
    group.add(3)
    await group.drain()
    task.cancel()
    assert store.batches == [[0, 1, 2], [3]]
