"""The tail: journal, then bus, each event once, whatever the bus does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress

import orjson
import pytest_asyncio

from mesh.bus import Bus, open_bus
from mesh.ids import uuid7
from mesh.tail import MAX_BEHIND, Source, Tail

LAST = 50


class Story:
    """A journal of numbers, whose messages a test sends as it likes."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.subject = f"test.tail.{uuid7()}"
        self.length = 0
        self.pages = 0
        self.heard = asyncio.Event()

    async def page(self, after_seq: int) -> Sequence[int] | None:
        self.pages += 1
        self.heard.set()
        found = list(range(after_seq + 1, self.length + 1))[:7]
        return found if found or after_seq < LAST else None

    async def write(self, count: int, *, is_published: bool = True) -> None:
        """The next `count` events, published in one message."""
        first = self.length + 1
        self.length += count
        if is_published:
            await self.publish(*range(first, self.length + 1))

    async def publish(self, *events: int) -> None:
        """A message."""
        await self.bus.nc.publish(self.subject, orjson.dumps(events))

    def tail(self, idle_poll_s: float = 10.0) -> Tail[int]:
        """A reader. The long poll makes a test hang that only polling would save."""
        return Tail(
            Source(self.page, _decode, lambda seq: seq, lambda seq: seq >= LAST), self.bus.nc, self.subject, idle_poll_s=idle_poll_s
        )

    async def read(self, after_seq: int = 0, idle_poll_s: float = 10.0) -> list[int]:
        """All events after a seq."""
        return [seq async for batch in self.tail(idle_poll_s).follow(after_seq) for seq in batch]


def _decode(message: bytes, after_seq: int) -> list[int]:
    return [seq for seq in orjson.loads(message) if seq > after_seq]


@pytest_asyncio.fixture
async def story(nats_url: str) -> AsyncIterator[Story]:
    """A story nobody has told yet."""
    bus = await open_bus(nats_url, "test")
    yield Story(bus)
    await bus.close()


async def listening(story: Story) -> None:
    """Returns once the reader has read the journal to its end and turned to the bus."""
    await story.heard.wait()
    await story.bus.nc.flush()


async def test_the_past_comes_from_the_journal(story: Story) -> None:
    await story.write(LAST, is_published=False)
    assert await story.read() == list(range(1, LAST + 1))
    assert await story.read(45) == list(range(46, LAST + 1))
    assert await story.read(LAST) == []


async def test_the_present_comes_from_the_bus(story: Story) -> None:
    await story.write(10, is_published=False)
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(story.read(10))
        await listening(story)
        pages = story.pages
        for _ in range(4):
            await story.write(10)
    assert reader.result() == list(range(11, LAST + 1))
    assert story.pages == pages


async def test_repeated_and_overlapping_messages_are_told_once(story: Story) -> None:
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(story.read())
        await listening(story)
        await story.write(5)
        await story.publish(1, 2, 3)
        await story.write(5)
        await story.publish(*range(4, 11))
        await story.write(40)
    assert reader.result() == list(range(1, LAST + 1))


async def test_a_lost_message_is_read_from_the_journal(story: Story) -> None:
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(story.read())
        await listening(story)
        await story.write(5)
        await story.write(20, is_published=False)
        await story.write(25)
    assert reader.result() == list(range(1, LAST + 1))


async def test_the_last_message_may_be_lost_too(story: Story) -> None:
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(story.read(idle_poll_s=0.1))
        await listening(story)
        await story.write(LAST, is_published=False)
    assert reader.result() == list(range(1, LAST + 1))


async def test_a_reader_that_falls_behind_misses_nothing(story: Story) -> None:
    found: list[int] = []
    async with aclosing(story.tail().follow(0)) as batches:
        await story.write(3, is_published=False)
        found += await anext(batches)
        # While the reader does something else, far more arrives than is kept for it.
        for _ in range(MAX_BEHIND + 10):
            await story.publish(1)
        await story.write(LAST - 3)
        await story.bus.nc.flush()
        with suppress(StopAsyncIteration):
            while True:
                found += await anext(batches)
    assert found == list(range(1, LAST + 1))
