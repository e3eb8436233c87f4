"""The queue of a socket is bounded."""

import asyncio

import pytest

from gateway.outbox import Outbox


async def _is_stuck(task: asyncio.Task[None]) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


async def test_frames_leave_in_order() -> None:
    box = Outbox()
    for frame in "abc":
        await box.put(frame)
    assert [await box.get() for _ in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize("box", [Outbox(max_frames=2), Outbox(max_chars=20)])
async def test_a_full_box_makes_its_writers_wait_and_loses_nothing(box: Outbox) -> None:
    frames = [str(number) * 10 for number in range(6)]

    async def fill() -> None:
        for frame in frames:
            await box.put(frame)

    task = asyncio.create_task(fill())
    assert await _is_stuck(task)
    assert [await box.get() for _ in frames] == frames
    await task


async def test_a_frame_larger_than_the_box_still_passes() -> None:
    box = Outbox(max_chars=5)
    await box.put("x" * 100)
    assert await box.get() == "x" * 100


async def test_a_reader_waits_for_a_frame() -> None:
    box = Outbox()
    reader = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    assert not reader.done()
    await box.put("late")
    assert await reader == "late"
