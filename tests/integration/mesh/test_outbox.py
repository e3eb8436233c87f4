"""The outbox and the readers of streams: nothing is lost between a commit and whoever is told of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from nats.js import JetStreamContext

from mesh.consumer import MAX_ATTEMPTS, NotYetError, Reader, consuming, pause_s
from mesh.database import Database, open_database
from mesh.host import find_services, hosted
from mesh.outbox import posting
from mesh.resources import Resources
from mesh.settings import Settings
from mesh.streams import DEAD_LETTERS, DOMAIN_EVENTS, dead_subject, ensure_streams

_DEADLINE_S = 20.0
_INSERT = "INSERT INTO outbox (subject, body) VALUES ($1, $2)"


@pytest_asyncio.fixture(scope="module")
async def resources(migrated: Settings) -> AsyncIterator[Resources]:
    """Those of a process that posts nothing itself."""
    async with hosted(find_services(["block"]), migrated) as host:
        yield host.resources


@pytest_asyncio.fixture
async def database(migrated: Settings) -> AsyncIterator[Database]:
    """A schema with an outbox."""
    opened = await open_database(migrated, "auth")
    yield opened
    await opened.close()


async def _until(seen: list[str], count: int) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while len(seen) < count:
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.02)


def _reader() -> Reader:
    name = uuid4().hex
    return Reader(DOMAIN_EVENTS, f"treadle.event.test.{name}", f"test-{name}")


async def test_what_is_committed_is_told_in_order_and_what_is_not_is_not(resources: Resources, database: Database) -> None:
    reader, seen = _reader(), list[str]()

    async def take(_: str, body: bytes) -> None:
        seen.append(body.decode())

    async with consuming(resources, reader, take), posting(database.pool, resources) as post:
        async with database.pool.acquire() as connection:
            for body in ("one", "two"):
                await connection.execute(_INSERT, reader.subject, body)
            change = connection.transaction()
            await change.start()
            await connection.execute(_INSERT, reader.subject, "never")
            await change.rollback()
        post.wake()
        await _until(seen, 2)
        deadline = time.monotonic() + _DEADLINE_S
        while await database.pool.fetchval("SELECT count(*) FROM outbox WHERE subject = $1", reader.subject):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    assert seen == ["one", "two"]


async def test_a_message_that_fails_comes_again_and_one_that_never_works_becomes_a_dead_letter(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.consumer.pause_s", lambda _: 0.01)
    reader, seen = _reader(), list[str]()

    async def take(_: str, body: bytes) -> None:
        seen.append(body.decode())
        if body == b"bad" or len(seen) < 2:
            raise ValueError

    bus = await resources.bus()
    async with consuming(resources, reader, take):
        await bus.js.publish(reader.subject, b"good")
        await _until(seen, 2)
        await bus.js.publish(reader.subject, b"bad")
        await _until(seen, 2 + MAX_ATTEMPTS)
        letters = await bus.js.pull_subscribe(dead_subject(reader.durable), stream=DEAD_LETTERS)
        [letter] = await letters.fetch(1, timeout=_DEADLINE_S)
    assert letter.data == b"bad"
    assert seen[:2] == ["good", "good"]


async def test_no_fault_whatever_ends_the_reading(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.consumer._RETRY_S", 0.01)
    reader, seen, faults = _reader(), list[str](), [RuntimeError(), ValueError()]

    async def ready(js: JetStreamContext) -> None:
        if faults:
            raise faults.pop()
        await ensure_streams(js)

    async def take(_: str, body: bytes) -> None:
        seen.append(body.decode())

    monkeypatch.setattr("mesh.consumer.ensure_streams", ready)
    async with consuming(resources, reader, take):
        await (await resources.bus()).js.publish(reader.subject, b"one")
        await _until(seen, 1)
    assert not faults


async def test_what_needs_time_is_asked_for_as_often_as_it_takes(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.consumer.pause_s", lambda _: 0.01)
    reader, seen = _reader(), list[str]()

    async def take(_: str, body: bytes) -> None:
        seen.append(body.decode())
        if len(seen) <= MAX_ATTEMPTS + 3:
            raise NotYetError

    async with consuming(resources, reader, take):
        await (await resources.bus()).js.publish(reader.subject, b"slow")
        await _until(seen, MAX_ATTEMPTS + 4)


def test_pauses_grow_and_end() -> None:
    assert [pause_s(n) for n in (1, 2, 3)] == [0.4, 0.8, 1.6]
    assert pause_s(1000) == 30.0
