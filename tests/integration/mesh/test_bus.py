"""The connection to the bus outlives those who give up waiting for it."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from mesh.bus import Bus, open_bus, settled
from mesh.ids import uuid7


@pytest_asyncio.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection of the test's own."""
    opened = await open_bus(nats_url, "test")
    yield opened
    await opened.close()


async def _ping_sent(bus: Bus) -> None:
    """Returns when somebody's ping is under way."""
    while not bus.nc._pongs:  # noqa: ASYNC110 - the library tells nobody
        await asyncio.sleep(0)


async def test_who_gives_up_a_flush_does_not_end_the_connection_of_all(bus: Bus) -> None:
    for _ in range(3):
        flushing = asyncio.create_task(bus.nc.flush())
        await _ping_sent(bus)
        flushing.cancel()
        await asyncio.wait({flushing})
    subscription = await bus.nc.subscribe(f"test.bus.{uuid7()}")
    await bus.nc.publish(subscription.subject, b"still here")
    assert (await subscription.next_msg(timeout=5)).data == b"still here"


async def test_a_cancellation_that_comes_with_the_answer_counts(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = bus.nc._process_pong

    async def answer_and_cancel() -> None:
        await answer()
        waiting.cancel()

    monkeypatch.setattr(bus.nc, "_process_pong", answer_and_cancel)
    waiting = asyncio.create_task(settled(bus.nc, 5))
    await asyncio.wait({waiting}, timeout=10)
    assert waiting.cancelled()


async def test_a_cancellation_from_before_does_not_disturb(bus: Bus) -> None:
    async def clean_up() -> bool:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await settled(bus.nc, 5)
        return True

    cleaning = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    cleaning.cancel()
    assert await cleaning


async def test_a_connection_that_is_cut_off_while_it_is_made_leaves_no_socket(nats_url: str) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for turns in range(30):
            opening = asyncio.create_task(open_bus(nats_url, "cut"))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            with suppress(asyncio.CancelledError):
                await (await opening).close()
            del opening
            await asyncio.sleep(0.01)
            gc.collect()
    assert not found
