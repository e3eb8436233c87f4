"""Writers that take turns with their commits meet in one batch, when the group waits for them."""

import asyncio

import pytest

from mesh.group_commit import GroupCommit

WRITERS = 8
ROUNDS = 20


async def _batches(turns: int) -> list[int]:
    """Sizes of the batches of writers that each write again two turns of the loop after their commit; half of them begin late."""
    sizes: list[int] = []

    async def commit(batch: "list[asyncio.Future[None]]") -> None:
        sizes.append(len(batch))
        for _ in range(20):
            await asyncio.sleep(0)
        for written in batch:
            written.set_result(None)

    group: GroupCommit[asyncio.Future[None]] = GroupCommit(commit, turns=turns)
    running = asyncio.create_task(group.run())

    async def write(is_late: bool) -> None:
        for _ in range(10 if is_late else 0):
            await asyncio.sleep(0)
        for _ in range(ROUNDS):
            written = asyncio.get_running_loop().create_future()
            group.add(written)
            await written
            await asyncio.sleep(0)

    await asyncio.gather(*(write(bool(number % 2)) for number in range(WRITERS)))
    running.cancel()
    return sizes


@pytest.mark.parametrize(("turns", "typical"), [(1, WRITERS // 2), (5, WRITERS)])
async def test_a_group_that_waits_for_its_writers_writes_all_at_once(turns: int, typical: int) -> None:
    sizes = await _batches(turns)
    assert sum(sizes) == WRITERS * ROUNDS
    assert sorted(sizes)[len(sizes) // 2] == typical
