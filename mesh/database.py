"""PostgreSQL: one schema and one role per service; a raw asyncpg pool for hot paths, a SQLAlchemy engine for ordinary repositories."""

import json
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from mesh.connections import connect, keep_alive, open_pool, options
from mesh.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

# A handler that waits longer for a connection has lost its caller: refuse instead.
POOL_TIMEOUT_S = 1.0
PING_TIMEOUT_S = 1.0


class Database:
    """The database as one service sees it. Both ways connect as its role, with its schema as the search path."""

    def __init__(self, pool: asyncpg.Pool, make_engine: "Callable[[], AsyncEngine]") -> None:
        """Owns both. The engine is made when it is first asked for: workers do without it, and its library weighs 16 MB."""
        self.pool = pool
        self._make_engine = make_engine

    @cached_property
    def engine(self) -> "AsyncEngine":
        """For ordinary repositories."""
        return self._make_engine()

    async def close(self) -> None:
        """Closes all connections; those in use are cut after a short wait."""
        if "engine" in self.__dict__:
            await self.engine.dispose()
        self.pool.terminate()


class KeptConnection:
    """One connection of a pool, kept between queries, for a single user who has the next query soon: taking it from the pool and giving it
    back would cost half as much as a short query. One query at a time.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Takes the connection with the first query, and another one when that is lost or a query fails."""
        self._pool = pool
        self._connection: asyncpg.pool.PoolConnectionProxy[Any] | None = None

    async def fetch(self, query: str, *args: Any, timeout: float) -> list[asyncpg.Record]:  # noqa: ASYNC109 - as the pool has it
        """As the pool's."""
        try:
            connection = self._connection
            if connection is None or not _is_usable(connection):
                await self.give_back()
                connection = self._connection = await self._pool.acquire(timeout=timeout)
            return await connection.fetch(query, *args, timeout=timeout)
        except TimeoutError:
            # Not even asked to stop: the next query comes soon, and cannot wait for a server that may have gone silent.
            if self._connection is not None:
                self._connection.terminate()
            await self.give_back()
            raise
        except BaseException:
            await self.give_back()
            raise

    async def give_back(self) -> None:
        """Gives the connection back to the pool."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)


def _is_usable(connection: "asyncpg.pool.PoolConnectionProxy[Any]") -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool has taken a lost connection back by itself.
        return False


class Probe:
    """Asks whether the database answers, on a connection of its own: a busy pool is no outage."""

    def __init__(self, url: str) -> None:
        """Connects when first asked."""
        self._url = url
        self._connection: asyncpg.Connection[Any] | None = None

    async def ask(self) -> None:
        """Raises when the database does not answer in time."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._url, timeout=PING_TIMEOUT_S)
            await self._connection.execute("SELECT 1", timeout=PING_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drops the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def role_of(schema: str) -> str:
    """The role that owns a service's schema."""
    return f"treadle_{schema}"


def quoted(name: str) -> str:
    """The name as an SQL identifier: `user` is a schema of ours and a word of SQL."""
    return '"' + name.replace('"', '""') + '"'


async def open_database(settings: Settings, schema: str) -> Database:
    """Opens pool and engine for a schema. Connects when first used, so a process can start before its database."""
    url = settings.database_url.get_secret_value()
    server_settings = {
        "role": role_of(schema),
        "search_path": quoted(schema),
        "application_name": f"treadle-{schema}",
        "timezone": "UTC",
        # Compiling costs more than our short queries.
        "jit": "off",
    }
    size = settings.database_pool_size
    return Database(await open_pool(url, size, server_settings), lambda: _make_engine(url, size, server_settings))


def _make_engine(url: str, size: int, server_settings: dict[str, str]) -> "AsyncEngine":
    from sqlalchemy import event  # noqa: PLC0415 - 16 MB, for processes with repositories only
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    engine = create_async_engine(
        driver_url(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args=options(server_settings),
        json_serializer=json.dumps,
    )
    event.listen(engine.sync_engine, "connect", lambda connection, _: keep_alive(connection.driver_connection))
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    event.listen(engine.sync_engine, "handle_error", _give_up_silent)
    return engine


def driver_url(url: str) -> str:
    """The URL for SQLAlchemy with asyncpg, from a plain `postgresql://` one."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql+asyncpg"))


def _refuse_dead(connection: Any, _: Any, __: Any) -> None:
    """Trades a connection that the server has closed for a new one. Costs no round trip, unlike the pool's pre-ping."""
    if connection.driver_connection.is_closed():
        from sqlalchemy import exc  # noqa: PLC0415

        raise exc.DisconnectionError("closed by the server")


def _give_up_silent(context: Any) -> None:
    """Where a server did not answer in time, the idle connections are replaced as well: the library gives up that one only."""
    if isinstance(context.original_exception, TimeoutError):
        context.invalidate_pool_on_disconnect = True
