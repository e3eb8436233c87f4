"""PostgreSQL, NATS and the cache as services get them, on real servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent

import asyncpg
import pytest
import pytest_asyncio
from nats.js.api import RetentionPolicy, StorageType
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from mesh.chain.faults import translate
from mesh.clients import Clients
from mesh.database import KeptConnection
from mesh.errors import Code
from mesh.identity.service_token import ServiceTokens
from mesh.migrate import migrate
from mesh.resources import Resources
from mesh.service import Running, Service
from mesh.settings import Settings
from mesh.streams import DISPATCH, DISPATCH_RUN, EVENTS, ensure_streams

VERSION = """
    from alembic import op

    revision, down_revision, branch_labels, depends_on = "{revision}", {before!r}, None, None

    def upgrade() -> None:
        op.execute("{sql}")
"""


@asynccontextmanager
async def build_nothing(_: Resources) -> AsyncIterator[Running]:
    yield Running()


def write_version(package: Path, revision: str, before: str | None, sql: str) -> None:
    folder = package / "versions"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{revision}.py").write_text(dedent(VERSION.format(revision=revision, before=before, sql=sql)))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package `treadle_test_<n>` for migrations; `order` is a schema whose name is a word of SQL."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / f"migrations_{tmp_path.name.replace('-', '_')}"


@pytest_asyncio.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    opened = Resources(settings, "test", Clients(settings, "test", ServiceTokens.from_settings(settings)))
    yield opened
    await opened.close()


async def migrated_service(settings: Settings, package: Path, name: str) -> Service:
    write_version(package, "one", None, "CREATE TABLE thing (id int PRIMARY KEY)")
    service = Service(name, build_nothing, migrations=package.name)
    await migrate(settings, [service])
    return service


async def test_a_service_owns_its_schema_and_sees_no_other(settings: Settings, resources: Resources, package: Path) -> None:
    await migrated_service(settings, package, "order")
    await migrated_service(settings, package, "other")
    mine = await resources.database("order")
    assert await mine.pool.fetchval("SELECT current_user || ':' || current_schema()") == "treadle_order:order"
    async with mine.engine.begin() as connection:
        await connection.execute(text("INSERT INTO thing VALUES (1) ON CONFLICT DO NOTHING"))
        assert (await connection.execute(text("SELECT current_user"))).scalar() == "treadle_order"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await mine.pool.fetch("SELECT * FROM other.thing")
    with pytest.raises(ProgrammingError):
        async with mine.engine.connect() as connection:
            await connection.execute(text("SELECT * FROM other.thing"))


async def test_migrations_run_once_in_order_and_by_one_process_at_a_time(settings: Settings, resources: Resources, package: Path) -> None:
    service = await migrated_service(settings, package, "twice")
    write_version(package, "two", "one", "INSERT INTO thing SELECT coalesce(max(id), 0) + 1 FROM thing")
    await asyncio.gather(*(migrate(settings, [service]) for _ in range(4)))
    database = await resources.database("twice")
    assert await database.pool.fetchval("SELECT count(*) FROM thing") == 1
    assert await database.pool.fetchval("SELECT version_num FROM alembic_version") == "two"


async def test_a_migration_that_fails_leaves_nothing(settings: Settings, resources: Resources, package: Path) -> None:
    service = await migrated_service(settings, package, "whole")
    write_version(package, "two", "one", "CREATE TABLE half (id int); SELECT no_such_function()")
    with pytest.raises(Exception, match=r"no_such_function|multiple commands"):
        await migrate(settings, [service])
    database = await resources.database("whole")
    assert await database.pool.fetchval("SELECT to_regclass('half')") is None
    assert await database.pool.fetchval("SELECT version_num FROM alembic_version") == "one"


async def test_connections_that_the_server_ended_are_replaced(settings: Settings, resources: Resources, package: Path) -> None:
    await migrated_service(settings, package, "cut")
    database = await resources.database("cut")
    async with database.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    await database.pool.fetchval("SELECT 1")
    admin = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        ended = await admin.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'treadle-cut'")
    finally:
        await admin.close()
    assert len(ended) == 2
    async with asyncio.timeout(5):
        while database.pool.get_idle_size():  # noqa: ASYNC110 - the end arrives over the socket
            await asyncio.sleep(0.01)
    assert await database.pool.fetchval("SELECT 1") == 1
    async with database.engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1


async def test_a_kept_connection_is_one_until_it_is_lost_or_a_query_fails(settings: Settings, resources: Resources, package: Path) -> None:
    await migrated_service(settings, package, "kept")
    pool = (await resources.database("kept")).pool
    kept = KeptConnection(pool)

    async def pid() -> int:
        [(found,)] = await kept.fetch("SELECT pg_backend_pid()", timeout=5.0)
        return int(found)

    first = await pid()
    assert await pid() == first
    assert pool.get_size() - pool.get_idle_size() == 1
    with pytest.raises(asyncpg.DivisionByZeroError):
        await kept.fetch("SELECT 1 / 0", timeout=5.0)
    assert pool.get_size() == pool.get_idle_size()
    lost = await pid()
    admin = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await admin.fetchval("SELECT pg_terminate_backend($1, 5000)", lost)
    finally:
        await admin.close()
    async with asyncio.timeout(5):
        while pool.get_size():  # noqa: ASYNC110 - the end arrives over the socket
            await asyncio.sleep(0.01)
    assert await pid() != lost
    await kept.give_back()
    assert pool.get_size() == pool.get_idle_size()


async def test_a_pool_with_nothing_left_refuses_within_its_time(settings: Settings, package: Path) -> None:
    small = settings.model_copy(update={"database_pool_size": 1})
    await migrated_service(settings, package, "small")
    resources = Resources(small, "test", Clients(small, "test", ServiceTokens.from_settings(small)))
    try:
        database = await resources.database("small")
        async with database.engine.connect():
            with pytest.raises(Exception, match="QueuePool") as caught:
                async with database.engine.connect():
                    pass
        error = translate(caught.value)
        assert error is not None
        assert error.code is Code.RESOURCE_EXHAUSTED
    finally:
        await resources.close()


async def test_a_database_that_is_away_is_unavailable(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": SecretStr("postgresql://nobody:x@127.0.0.1:1/none")})
    resources = Resources(away, "test", Clients(away, "test", ServiceTokens.from_settings(away)))
    try:
        database = await resources.database("graph")
        for attempt in (database.pool.fetchval("SELECT 1"), database.engine.connect().start(), resources.ping_database()):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - any error of the connection
                await attempt
            error = translate(caught.value)
            assert error is not None
            assert error.code is Code.UNAVAILABLE
    finally:
        await resources.close()


async def test_streams_come_to_be_and_stay(resources: Resources) -> None:
    bus = await resources.bus()
    await asyncio.gather(*(ensure_streams(bus.js) for _ in range(3)))
    await bus.js.publish(DISPATCH_RUN, b"one")
    await ensure_streams(bus.js)
    dispatch = await bus.js.stream_info(DISPATCH)
    assert dispatch.config.retention == RetentionPolicy.WORK_QUEUE
    assert dispatch.config.storage == StorageType.MEMORY
    assert dispatch.state.messages >= 1
    await bus.js.purge_stream(DISPATCH)
    events = await bus.js.stream_info(EVENTS)
    assert (events.config.storage, events.config.max_age) == (StorageType.MEMORY, 600)


async def test_all_services_of_a_process_share_its_connections(resources: Resources) -> None:
    other = resources.for_workload("graph")
    assert (other.workload, other.clients.workload) == ("graph", "graph")
    assert await other.bus() is await resources.bus()
    assert other.cache is resources.cache
    await other.cache.set("treadle:test", "1", ex=5)
    assert await resources.cache.get("treadle:test") == "1"
    await resources.ping_cache()
    await resources.ping_bus()
    await resources.ping_database()
