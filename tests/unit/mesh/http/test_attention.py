"""Calls end when nobody waits for them, and for no other reason."""

import asyncio

import pytest

from mesh.http import attention
from mesh.http.attention import WATCH_AFTER_S, WhileClientStays

PATIENCE_S = 5.0


class Client:
    """Somebody who waits, until told to go."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.is_watched = False

    async def gone(self) -> None:
        """As the door's."""
        self.is_watched = True
        await self.left.wait()


async def test_a_call_whose_client_left_ends_quietly() -> None:
    client = Client()
    client.left.set()
    async with asyncio.timeout(PATIENCE_S):
        with WhileClientStays(client.gone) as context:
            await asyncio.Event().wait()
    assert context.is_gone
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_quick_call_is_not_watched() -> None:
    client = Client()
    with WhileClientStays(client.gone) as context:
        await asyncio.sleep(0)
    await asyncio.sleep(WATCH_AFTER_S * 2)
    assert not client.is_watched
    assert not context.is_gone


async def test_cancellation_from_elsewhere_passes_through() -> None:
    client, started = Client(), asyncio.Event()

    async def call() -> None:
        with WhileClientStays(client.gone):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_a_handler_shields_goes_on() -> None:
    client, may_end, ended = Client(), asyncio.Event(), asyncio.Event()

    async def commit() -> None:
        await may_end.wait()
        ended.set()

    client.left.set()
    committing = asyncio.create_task(commit())
    async with asyncio.timeout(PATIENCE_S):
        with WhileClientStays(client.gone):
            await asyncio.shield(committing)
        may_end.set()
        await ended.wait()
        await committing


async def test_a_failure_of_the_call_is_not_lost() -> None:
    client = Client()
    with pytest.raises(ValueError, match="x"), WhileClientStays(client.gone):
        raise ValueError("x")


async def test_a_cancellation_that_is_swallowed_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "ASK_AGAIN_S", 0.01)
    client, swallowed = Client(), 0
    client.left.set()
    async with asyncio.timeout(PATIENCE_S):
        with WhileClientStays(client.gone) as context:
            while swallowed < 2:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    swallowed += 1
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert (context.is_gone, task.cancelling()) == (True, 0)
