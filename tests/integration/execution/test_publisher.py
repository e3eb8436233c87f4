"""What a publisher says: everything, in order, after a silence and at the end at once, the rest in fewer messages."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from mesh.bus import Bus, open_bus
from mesh.event_lines import read_message
from mesh.ids import uuid7
from mesh.streams import execution_subject
from services.execution import publisher
from services.execution.engine.events import EventKind
from services.execution.lines import Line
from services.execution.publisher import Committed, Publisher

STARTED, PROGRESS, END = (int(kind) for kind in (EventKind.EXECUTION_STARTED, EventKind.EXECUTION_RESUMED, EventKind.EXECUTION_COMPLETED))


class Press:
    """A publisher, one run, and what the bus brought of it: lists of seqs."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.publisher = Publisher()
        self.publisher.attach(bus)
        self.messages: list[list[int]] = []
        self._owner, self._run, self._seq = uuid7(), uuid7(), 0
        self._heard = asyncio.Condition()

    async def listen(self) -> None:
        """From now on messages are heard."""

        async def on_message(message: Msg) -> None:
            async with self._heard:
                self.messages.append(_seqs(message.data))
                self._heard.notify_all()

        await self.bus.nc.subscribe(execution_subject(self._owner, self._run), cb=on_message)
        await self.bus.nc.flush()

    def commit(self, *kinds: int) -> None:
        """The run's next events."""
        lines = [Line(kind, 1) for kind in kinds]
        self.publisher.add(Committed(self._owner, self._run, "g", (), self._seq + 1, lines))
        self._seq += len(kinds)

    async def until(self, count: int) -> list[list[int]]:
        """The messages, once there are so many."""
        async with asyncio.timeout(5), self._heard:
            await self._heard.wait_for(lambda: len(self.messages) >= count)
        return self.messages


def _seqs(payload: bytes) -> list[int]:
    message = read_message(payload)
    return list(range(message.seq, message.seq + len(message.lines)))


@pytest_asyncio.fixture
async def press(nats_url: str) -> AsyncIterator[Press]:
    """A publisher at work."""
    bus = await open_bus(nats_url, "test")
    press = Press(bus)
    await press.listen()
    running = asyncio.create_task(press.publisher.run())
    yield press
    running.cancel()
    await bus.close()


async def test_the_end_of_a_run_waits_for_nothing_and_takes_along_what_waits(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "PACE_S", 60.0)
    press.commit(STARTED)
    press.commit(PROGRESS)
    press.commit(PROGRESS, PROGRESS)
    press.commit(END)
    assert await press.until(2) == [[1], [2, 3, 4, 5]]


async def test_the_first_event_of_a_run_waits_for_nothing(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process publishes the next ones: late, it would come after them."""
    monkeypatch.setattr(publisher, "PACE_S", 60.0)
    other = uuid7()
    press.publisher.add(Committed(uuid7(), other, "g", (), 1, [Line(STARTED, 1)]))
    press.commit(STARTED)
    assert await press.until(1) == [[1]]


async def test_progress_goes_out_once_in_a_period(press: Press) -> None:
    for _ in range(4):
        press.commit(PROGRESS)
    assert await press.until(2) == [[1], [2, 3, 4]]
    press.commit(PROGRESS)
    press.commit(PROGRESS)
    await press.until(3)
    assert [seq for message in press.messages for seq in message][:5] == [1, 2, 3, 4, 5]


async def test_a_message_holds_so_many_events_and_no_more(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "MAX_JOINED", 3)
    for _ in range(6):
        press.commit(PROGRESS)
    press.commit(END)
    messages = await press.until(3)
    assert [seq for message in messages for seq in message] == list(range(1, 8))
    assert all(len(message) <= 3 for message in messages)


async def test_a_flush_leaves_nothing_behind(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "PACE_S", 60.0)
    press.commit(STARTED)
    press.commit(PROGRESS)
    await press.publisher.flush()
    assert await press.until(2) == [[1], [2]]
