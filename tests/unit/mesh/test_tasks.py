"""Ending tasks: surely, gently, and without waiting for ever."""

import asyncio

from mesh.tasks import end


async def forever() -> None:
    await asyncio.Event().wait()


async def test_tasks_end_at_once() -> None:
    tasks = [asyncio.create_task(forever()) for _ in range(3)]
    await asyncio.sleep(0)
    await end(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_a_task_that_misses_its_cancellation_is_asked_again() -> None:
    asked = 0

    async def distracted() -> None:
        nonlocal asked
        while asked < 3:
            try:
                await forever()
            except asyncio.CancelledError:
                asked += 1

    task = asyncio.create_task(distracted())
    await asyncio.sleep(0)
    await end(task, ask_again_s=0.01)
    assert task.done()
    assert asked == 3


async def test_a_task_has_time_for_what_it_does_at_its_end() -> None:
    tidied = asyncio.Event()

    async def tidy() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1.5)
            tidied.set()

    task = asyncio.create_task(tidy())
    await asyncio.sleep(0)
    await end(task)
    assert tidied.is_set()


async def test_a_task_that_ends_others_does_not_leave_them_when_it_is_asked_again() -> None:
    tidied = asyncio.Event()

    async def tidy() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0.2)
            tidied.set()

    async def nested() -> None:
        inner = asyncio.create_task(tidy())
        try:
            await forever()
        finally:
            await end(inner)

    task = asyncio.create_task(nested())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await end(task, ask_again_s=0.05)
    assert tidied.is_set()
    assert task.cancelled()


async def test_a_task_that_never_heeds_is_left_behind() -> None:
    goes_on = asyncio.Event()

    async def deaf() -> None:
        while not goes_on.is_set():
            try:
                await goes_on.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await end(task, ask_again_s=0.01, tries=3)
    assert not task.done()
    goes_on.set()
    await task


async def test_what_a_task_raised_stays_in_it() -> None:
    async def broken() -> None:
        raise ValueError

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)
    await end(task)
    assert isinstance(task.exception(), ValueError)


async def test_no_tasks_are_no_wait() -> None:
    await end()
