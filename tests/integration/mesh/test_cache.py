"""The cache on real Valkey and NATS: faster when both are there, never wrong when one is not."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import Popen

import pytest
import pytest_asyncio
from nats.aio.client import Client
from pydantic import SecretStr

from mesh.cache.cache import Cache, Codec
from mesh.clients import Clients
from mesh.errors import NotFoundError
from mesh.identity.service_token import ServiceTokens
from mesh.ids import uuid7
from mesh.local import nats, valkey
from mesh.local.ports import free_port
from mesh.local.program import Program, running
from mesh.resources import Resources
from mesh.settings import Settings
from tests.integration.mesh.hosts import local_settings

TEXT: Codec[str] = Codec(str.encode, bytes.decode)
PATIENCE_S = 15.0


class Source:
    """Where values come from: counts how often it is read, and can be held."""

    def __init__(self) -> None:
        self.value = "first"
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> str:
        self.reads += 1
        value = self.value
        await self.gate.wait()
        return value


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[Resources]:
    """What one process has: connections of its own, and news."""
    resources = Resources(settings, "test", Clients(settings, "test", ServiceTokens.from_settings(settings)))

    async def connect() -> Client:
        return (await resources.bus()).nc

    try:
        async with resources.cache_news.hearing(connect):
            await until(lambda: resources.cache_news.epoch is not None)
            yield resources
    finally:
        await resources.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - other tasks and processes
            await asyncio.sleep(0.01)


async def until_it_is(read: Callable[[], Awaitable[str]], value: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await read() != value:  # noqa: ASYNC110 - other tasks and processes
            await asyncio.sleep(0.01)


def hits(resources: Resources, layer: str) -> float:
    lines = resources.metrics.text().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("treadle_cache_lookups_total") and f'layer="{layer}"' in line)


@pytest.fixture
def local(cache_url: str, nats_url: str) -> Settings:
    return local_settings(cache_url=SecretStr(cache_url), nats_url=nats_url)


@pytest_asyncio.fixture
async def here(local: Settings) -> AsyncIterator[Resources]:
    async with process(local) as made:
        yield made


@pytest_asyncio.fixture
async def there(local: Settings) -> AsyncIterator[Resources]:
    async with process(local) as made:
        yield made


@pytest.fixture
def name() -> str:
    """Of a cache that no other test has."""
    return f"test-{uuid7()}"


@pytest.fixture
def source() -> Source:
    return Source()


async def test_many_who_ask_at_once_read_once(here: Resources, name: str, source: Source) -> None:
    cache = Cache(here, name, TEXT, ttl_s=60)
    assert set(await asyncio.gather(*(cache.get("g", "p", source.read) for _ in range(50)))) == {"first"}
    assert source.reads == 1


async def test_layers_are_asked_in_turn_and_counted(here: Resources, there: Resources, name: str, source: Source) -> None:
    near, far = Cache(here, name, TEXT, ttl_s=60), Cache(there, name, TEXT, ttl_s=60)
    for _ in range(10):
        assert await near.get("g", "p", source.read) == "first"
    for _ in range(3):
        assert await far.get("g", "p", source.read) == "first"
    assert source.reads == 1
    assert (hits(here, "source"), hits(here, "shared"), hits(here, "process")) == (1, 0, 9)
    assert (hits(there, "source"), hits(there, "shared"), hits(there, "process")) == (0, 1, 2)


async def test_what_is_dropped_is_read_anew_here_at_once_and_elsewhere_within_moments(
    here: Resources, there: Resources, name: str, source: Source
) -> None:
    near, far = Cache(here, name, TEXT, ttl_s=60), Cache(there, name, TEXT, ttl_s=60)
    for part in ("p", "q"):
        await near.get("g", part, source.read)
        await far.get("g", part, source.read)
    source.value = "second"
    await near.drop("g")
    for part in ("p", "q"):
        assert await near.get("g", part, source.read) == "second"
    started = time.monotonic()
    await until_it_is(lambda: far.get("g", "q", source.read), "second")
    assert time.monotonic() - started < 1


async def test_other_groups_stay(here: Resources, name: str, source: Source) -> None:
    cache = Cache(here, name, TEXT, ttl_s=60)
    await cache.get("g", "p", source.read)
    await cache.get("h", "p", source.read)
    await cache.drop("g")
    await cache.get("h", "p", source.read)
    assert source.reads == 2


async def test_what_was_read_before_a_change_is_not_kept_after_it(here: Resources, there: Resources, name: str, source: Source) -> None:
    near, far = Cache(here, name, TEXT, ttl_s=60), Cache(there, name, TEXT, ttl_s=60)
    source.gate.clear()
    slow = [asyncio.create_task(cache.get("g", "p", source.read)) for cache in (near, far)]
    await until(lambda: source.reads == 2)
    source.value = "second"
    await near.drop("g")
    # Who asks after the drop does not wait for those who asked before.
    fresh = asyncio.create_task(near.get("g", "p", source.read))
    await until(lambda: source.reads == 3)
    source.gate.set()
    assert await asyncio.gather(*slow) == ["first", "first"]
    assert await fresh == "second"
    assert await near.get("g", "p", source.read) == "second"
    await until_it_is(lambda: far.get("g", "p", source.read), "second")


async def test_an_error_is_for_all_who_asked_and_is_not_kept(here: Resources, name: str, source: Source) -> None:
    cache = Cache(here, name, TEXT, ttl_s=60)

    async def fail() -> str:
        await asyncio.sleep(0)
        raise NotFoundError("gone")

    found = await asyncio.gather(*(cache.get("g", "p", fail) for _ in range(3)), return_exceptions=True)
    assert [type(item) for item in found] == [NotFoundError] * 3
    assert await cache.get("g", "p", source.read) == "first"


async def test_one_who_leaves_takes_nobody_along(here: Resources, name: str, source: Source) -> None:
    cache = Cache(here, name, TEXT, ttl_s=60)
    source.gate.clear()
    first, second = (asyncio.create_task(cache.get("g", "p", source.read)) for _ in range(2))
    await until(lambda: source.reads == 1)
    first.cancel()
    source.gate.set()
    assert await second == "first"


async def test_values_end(here: Resources, name: str, source: Source) -> None:
    cache = Cache(here, name, TEXT, ttl_s=0.1)
    await cache.get("g", "p", source.read)
    source.value = "second"
    started = time.monotonic()
    await until_it_is(lambda: cache.get("g", "p", source.read), "second")
    assert time.monotonic() - started < 1


async def test_what_is_held_in_the_process_is_bounded_by_bytes(here: Resources, name: str) -> None:
    cache = Cache(here, name, TEXT, ttl_s=60, local_bytes=20_000)
    reads = 0

    async def large() -> str:
        nonlocal reads
        reads += 1
        return "x" * 4000

    for number in range(20):
        await cache.get(f"g{number}", "p", large)
    size = next(line for line in here.metrics.text().decode().splitlines() if line.startswith(f'treadle_cache_bytes{{cache="{name}"}}'))
    assert 0 < float(size.split()[-1]) <= 20_000
    assert hits(here, "process") == 0
    await cache.get("g19", "p", large)
    assert hits(here, "process") == 1


async def test_what_nobody_can_read_is_read_at_the_source(here: Resources, name: str, source: Source) -> None:
    await here.cache.hset(f"cache:{name}:g", "p", "no number")
    cache: Cache[int] = Cache(here, name, Codec(lambda value: str(value).encode(), int), ttl_s=60)

    async def read() -> int:
        return 7

    assert await cache.get("g", "p", read) == 7


@pytest.fixture
def own_nats(tmp_path: Path) -> tuple[Program, str]:
    port, monitor, password = free_port(), free_port(), secrets.token_hex(8)
    return nats.prepare(tmp_path, port, monitor, password, tmp_path / "nats.log"), nats.url(port, password)


@pytest.fixture
def own_cache(tmp_path: Path) -> Iterator[tuple[str, "Popen[bytes]"]]:
    port, password = free_port(), secrets.token_hex(8)
    with running(valkey.prepare(tmp_path, port, password, tmp_path / "cache.log")) as process:
        yield valkey.url(port, password), process


async def test_without_the_bus_nothing_that_is_held_is_used(own_nats: tuple[Program, str], local: Settings, name: str) -> None:
    program, url = own_nats
    # The shared layer is another matter: whoever changes something forgets it there too.
    settings = local.model_copy(update={"nats_url": url, "cache_url": SecretStr("redis://127.0.0.1:1/0")})
    changing, lasting = Source(), Source()
    server = running(program)
    server.__enter__()
    async with process(settings) as here:
        cache, forever = Cache(here, name, TEXT, ttl_s=60), Cache(here, f"{name}-forever", TEXT, ttl_s=60, lasts=True)
        try:
            for _ in range(3):
                await cache.get("g", "p", changing.read)
                await forever.get("g", "p", lasting.read)
            assert (changing.reads, lasting.reads) == (1, 1)
        finally:
            server.__exit__(None, None, None)
        await until(lambda: here.cache_news.epoch is None)
        changing.value = "second"
        assert await cache.get("g", "p", changing.read) == "second"
        assert await forever.get("g", "p", lasting.read) == "first"
        assert lasting.reads == 1
        changing.value = "third"
        with running(program):
            await until(lambda: here.cache_news.epoch is not None)
            # News were missed: what was held before the gap is not used after it.
            assert await cache.get("g", "p", changing.read) == "third"
            reads = changing.reads
            assert await cache.get("g", "p", changing.read) == "third"
            assert changing.reads == reads


async def test_a_shared_layer_that_hangs_makes_slower_and_never_wrong(
    own_cache: tuple[str, "Popen[bytes]"], local: Settings, name: str, source: Source
) -> None:
    url, server = own_cache
    settings = local.model_copy(update={"cache_url": SecretStr(url)})
    async with process(settings) as here, process(settings) as there:
        near, far = Cache(here, name, TEXT, ttl_s=60), Cache(there, name, TEXT, ttl_s=60)
        assert await near.get("g", "p", source.read) == "first"
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            for number in range(20):
                assert await near.get(f"other{number}", "p", source.read) == "first"
            assert time.monotonic() - started < 2
            source.value = "second"
            await near.drop("g")
            assert await near.get("g", "p", source.read) == "second"
            assert await far.get("g", "p", source.read) == "second"
        finally:
            os.kill(server.pid, signal.SIGCONT)
        # It still holds what was dropped while it hung, until that is tried again.
        await until_it_is(lambda: _shared(there, name), "")
        async with process(settings) as later:
            assert await Cache(later, name, TEXT, ttl_s=60).get("g", "p", source.read) == "second"


async def _shared(resources: Resources, name: str) -> str:
    return str(await resources.cache.hget(f"cache:{name}:g", "p") or "")


async def test_a_group_that_was_dropped_takes_no_late_values(here: Resources, name: str, source: Source) -> None:
    cache = Cache(here, name, TEXT, ttl_s=60)
    await cache.drop("g")
    await cache.get("g", "p", source.read)
    assert await _shared(here, name) == ""
    assert 0 < await here.cache.pttl(f"cache:{name}:g") <= 10_000
