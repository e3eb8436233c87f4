"""Settings on a real NATS server: whoever follows them has what is in the bucket, also after the server was away."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.bus import Bus, open_bus
from mesh.errors import UnavailableError
from mesh.ids import uuid7
from mesh.local import nats
from mesh.local.ports import free_port
from mesh.local.program import running
from mesh.runtime_settings import RuntimeSettings, Snapshot

PATIENCE_S = 15.0


@pytest_asyncio.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    opened = await open_bus(nats_url, "test")
    yield opened
    await opened.close()


async def settings_on(bus: Bus) -> RuntimeSettings:
    async def connect() -> Bus:
        return bus

    return RuntimeSettings(connect, f"test{uuid7().replace('-', '')}.")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - other tasks
            await asyncio.sleep(0.02)


async def test_followers_see_what_is_there_and_what_changes(bus: Bus) -> None:
    settings, seen = await settings_on(bus), list[Snapshot]()
    await settings.put("a", b"1")
    async with settings.following(lambda found: seen.append(dict(found))):
        await until(lambda: seen[-1:] == [{"a": b"1"}])
        await settings.put("b.c", b"2")
        await until(lambda: seen[-1] == {"a": b"1", "b.c": b"2"})
        await settings.delete("a")
        await until(lambda: seen[-1] == {"b.c": b"2"})
    # Never half of what was there at the beginning.
    assert seen[0] == {"a": b"1"}


async def test_an_empty_bucket_is_told_too(bus: Bus) -> None:
    seen = list[Snapshot]()
    async with (await settings_on(bus)).following(lambda found: seen.append(dict(found))):
        await until(lambda: seen == [{}])


async def test_what_changed_while_the_server_was_away_is_seen_after_it(tmp_path: Path) -> None:
    port, monitor, password = free_port(), free_port(), secrets.token_hex(8)
    program = nats.prepare(tmp_path, port, monitor, password, tmp_path / "nats.log")
    seen = list[Snapshot]()
    with running(program):
        opened = await open_bus(nats.url(port, password), "test")
        settings = await settings_on(opened)
        await settings.put("a", b"1")
        following = settings.following(lambda found: seen.append(dict(found)))
        await following.__aenter__()
        await until(lambda: seen[-1:] == [{"a": b"1"}])
    try:
        await until(lambda: not opened.is_connected)
        with pytest.raises(UnavailableError):
            await settings.put("a", b"2")
        with running(program):
            await until(lambda: opened.is_connected)
            await settings.put("a", b"3")
            await until(lambda: seen[-1] == {"a": b"3"})
            await following.__aexit__(None, None, None)
            await opened.close()
    finally:
        await opened.close()
