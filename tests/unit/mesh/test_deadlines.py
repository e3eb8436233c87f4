"""One timer ends all calls at their deadlines, and leaves no trace of those that ended by themselves."""

import asyncio
import time

import pytest

from mesh.call import Call
from mesh.chain.deadline import Deadlines
from mesh.errors import DeadlineExceededError, UnavailableError
from tests.unit.mesh.chains import GET_ME


def call(timeout_s: float) -> Call:
    return Call(GET_ME, {}, time.monotonic() + timeout_s)


async def test_each_call_ends_at_its_own_deadline() -> None:
    deadlines = Deadlines()

    async def wait(timeout_s: float) -> float:
        start = time.monotonic()
        with pytest.raises(DeadlineExceededError), deadlines.within(call(timeout_s)):
            await asyncio.Event().wait()
        return time.monotonic() - start

    ends = await asyncio.gather(*(wait(timeout_s) for timeout_s in (0.2, 0.05, 0.1, -1.0)))
    for asked, took in zip((0.2, 0.05, 0.1, 0.0), ends, strict=True):
        assert asked <= took < asked + 1


async def test_what_ends_by_itself_is_forgotten() -> None:
    deadlines = Deadlines()
    for _ in range(100):
        with deadlines.within(call(60)):
            pass
    assert not deadlines.held


async def test_the_task_goes_on_after_a_deadline() -> None:
    deadlines = Deadlines()
    with pytest.raises(DeadlineExceededError), deadlines.within(call(0.01)):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_from_outside_is_not_taken_for_a_deadline() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.within(call(60)):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not deadlines.held


async def test_both_at_once_is_a_cancellation() -> None:
    deadlines = Deadlines()
    entered = asyncio.Event()

    async def work() -> None:
        within = deadlines.within(call(60))
        with within:
            asyncio.get_running_loop().call_soon(within.interrupt, UnavailableError("Stopping."))
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_work_itself_wins() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("own") from None

    with pytest.raises(ValueError, match="own"), deadlines.within(call(0.01)):
        await work()


async def test_an_interruption_brings_its_own_error() -> None:
    deadlines = Deadlines()
    within = deadlines.within(call(60))
    asyncio.get_running_loop().call_soon(within.interrupt, UnavailableError("Stopping."))
    with pytest.raises(UnavailableError), within:
        await asyncio.Event().wait()
    within.interrupt(UnavailableError("Too late."))
    await asyncio.sleep(0)
