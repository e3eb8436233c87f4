"""Real servers for the tests: started when a test first asks for one, stopped when the run ends."""

import base64
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from mesh.local import nats, postgres, valkey
from mesh.local.ports import free_port
from mesh.local.program import running
from mesh.settings import Settings


@pytest.fixture(scope="session")
def servers_home() -> Iterator[Path]:
    """A directory for the servers' data, gone after the run."""
    home = Path(tempfile.mkdtemp(prefix="treadle-test-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest_asyncio.fixture(scope="session")
async def postgres_url(servers_home: Path) -> AsyncIterator[str]:
    """URL of the superuser on a database `treadle` that is empty at first."""
    port, password = free_port(), secrets.token_hex(16)
    with running(postgres.prepare(servers_home, port, password, servers_home / "logs" / "postgres.log")):
        await postgres.create_database(port, password)
        yield postgres.url(port, password)


@pytest.fixture(scope="session")
def nats_url(servers_home: Path) -> Iterator[str]:
    """URL of a NATS server with JetStream."""
    port, password = free_port(), secrets.token_hex(16)
    monitor = free_port(avoid=[port])
    with running(nats.prepare(servers_home, port, monitor, password, servers_home / "logs" / "nats.log")):
        yield nats.url(port, password)


@pytest.fixture(scope="session")
def cache_url(servers_home: Path) -> Iterator[str]:
    """URL of a Valkey server."""
    port, password = free_port(), secrets.token_hex(16)
    with running(valkey.prepare(servers_home, port, password, servers_home / "logs" / "cache.log")):
        yield valkey.url(port, password)


@pytest.fixture(scope="session")
def settings(postgres_url: str, nats_url: str, cache_url: str, servers_home: Path) -> Settings:
    """Settings of a process that uses the test servers, with keys of its own."""
    return Settings(
        home=servers_home,
        instance="test",
        database_url=SecretStr(postgres_url),
        nats_url=nats_url,
        cache_url=SecretStr(cache_url),
        service_key=SecretStr(base64.b64encode(secrets.token_bytes(32)).decode()),
        master_key=SecretStr(base64.b64encode(secrets.token_bytes(32)).decode()),
        log_format="text",
    )


@pytest_asyncio.fixture(scope="session")
async def migrated(settings: Settings) -> Settings:
    """The same settings, with the tables of all services in place."""
    from mesh.migrate import migrate  # noqa: PLC0415 - tests without a database need not load it

    points = entry_points(group="treadle.services")
    await migrate(settings, [point.load() for point in points if find_spec(point.module)])
    return settings
