"""Connections to PostgreSQL that go silent: nobody waits for them for ever, and what is idle beside them is not used again."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import pytest
from sqlalchemy import text

from mesh import connections
from mesh.clients import Clients
from mesh.database import Database, KeptConnection
from mesh.identity.service_token import ServiceTokens
from mesh.resources import Resources
from mesh.settings import Settings
from tests.integration.mesh.muting import Muting, muting

# Less than usual, for the sake of the tests' time.
STATEMENT_S = 1.0
# A statement's time, that of its cancellation, and a new connection on a busy machine.
BACK_S = 2 * STATEMENT_S + 1.5
# How long the other library waits for the end of a connection that it gives up, each time.
PARTING_S = 2.0
AT_ONCE = 4


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STATEMENT_TIMEOUT_S", STATEMENT_S)


@asynccontextmanager
async def far(migrated: Settings) -> AsyncIterator[tuple[Muting, Database]]:
    """A database that can go silent."""
    async with muting(migrated) as between:
        own = migrated.model_copy(update={"database_url": between.url})
        resources = Resources(own, "test", Clients(own, "test", ServiceTokens.from_settings(own)))
        try:
            yield between, await resources.database("graph")
        finally:
            await resources.close()


async def first_answer(ask: Callable[[], Awaitable[object]]) -> float:
    """How long it takes until somebody who tries again and again gets an answer."""
    began = time.monotonic()
    async with asyncio.timeout(60):
        while True:
            try:
                await ask()
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)
            else:
                return time.monotonic() - began


async def test_a_pool_is_back_in_bounded_time_also_where_it_was_idle(migrated: Settings) -> None:
    async with far(migrated) as (between, database):
        pool = database.pool

        async def ask() -> None:
            await pool.fetchval("SELECT pg_sleep(0.05)")

        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        assert between.mute() == AT_ONCE
        # One is in use at first, the others lie idle and are asked for when that one has failed.
        assert await first_answer(ask) < BACK_S
        began = time.monotonic()
        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        assert time.monotonic() - began < STATEMENT_S


async def test_a_transaction_is_given_up_in_bounded_time(migrated: Settings) -> None:
    async with far(migrated) as (between, database):

        async def ask() -> None:
            async with database.pool.acquire() as connection, connection.transaction():
                await connection.fetchval("SELECT 1")

        await ask()
        between.mute()
        assert await first_answer(ask) < BACK_S


async def test_repositories_are_back_in_bounded_time_also_where_they_were_idle(migrated: Settings) -> None:
    async with far(migrated) as (between, database):

        async def ask() -> None:
            async with database.engine.begin() as connection:
                await connection.execute(text("SELECT pg_sleep(0.05)"))

        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        assert between.mute() == AT_ONCE
        assert await first_answer(ask) < BACK_S + 2 * PARTING_S
        began = time.monotonic()
        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        assert time.monotonic() - began < PARTING_S + STATEMENT_S


async def test_a_kept_connection_is_given_up_at_once(migrated: Settings) -> None:
    async with far(migrated) as (between, database):
        kept = KeptConnection(database.pool)
        await kept.fetch("SELECT 1", timeout=1.0)
        between.mute()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await kept.fetch("SELECT 1", timeout=1.0)
        await kept.fetch("SELECT 1", timeout=5.0)
        assert time.monotonic() - began < 3
        await kept.give_back()


async def test_what_a_cancelled_task_asked_for_is_given_up_in_bounded_time(migrated: Settings) -> None:
    async with far(migrated) as (between, database):
        await database.pool.fetchval("SELECT 1")
        between.mute()
        task = asyncio.create_task(database.pool.fetchval("SELECT 1"))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        task.cancel()
        await asyncio.wait([task], timeout=30)
        assert task.cancelled()
        assert time.monotonic() - began < STATEMENT_S + 1.5


async def test_a_long_statement_may_say_so(migrated: Settings) -> None:
    async with far(migrated) as (_, database):
        with pytest.raises(TimeoutError):
            await database.pool.fetchval("SELECT pg_sleep($1)", STATEMENT_S + 2)
        await database.pool.fetchval("SELECT pg_sleep($1)", STATEMENT_S + 1, timeout=60)


async def test_both_kernels_ask_idle_connections(migrated: Settings) -> None:
    connection = await connections.connect(migrated.database_url.get_secret_value(), application_name="test")
    try:
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        theirs = [await connection.fetchval("SELECT current_setting($1)", name) for name in names]
        assert theirs == ["10", "3", "3", "15000"]
        sock = cast("Any", connection)._transport.get_extra_info("socket")
        ours = [sock.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT)]
        assert (sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), ours) == (1, [10, 15_000])
    finally:
        await connection.close()
