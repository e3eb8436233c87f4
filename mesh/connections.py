"""Connections to PostgreSQL on which nobody waits for ever.

A connection can go silent without an end: its server failed over, a router forgot it, the machine at the other side is gone. Then:

- Each statement has a time limit, and so has the wait for the server to hear that a statement is not wanted any more: the connection is
  given up after that, and all idle ones beside it are replaced before they are used again, as they have probably gone silent as well.
- The kernels on both sides ask idle connections whether the other one is there. So no server keeps the locks of a process that is gone.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import asyncpg

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection

CONNECT_TIMEOUT_S = 5.0
# For statements that say nothing else, and for the cancellation of any.
STATEMENT_TIMEOUT_S = 5.0
# For statements that delete much at once, and for whom nobody waits.
BULK_TIMEOUT_S = 60.0
# The other side is gone when it has not answered for about so long.
_IDLE_S, _INTERVAL_S, _PROBES = 10, 3, 3
_UNANSWERED_MS = 15_000

_KEEPALIVE = {
    "tcp_keepalives_idle": str(_IDLE_S),
    "tcp_keepalives_interval": str(_INTERVAL_S),
    "tcp_keepalives_count": str(_PROBES),
    "tcp_user_timeout": str(_UNANSWERED_MS),
}


class Connection(_Connection):
    """A connection that tells when it had to be given up. Those that end in peace do not."""

    given_up: Callable[[], None] | None = None

    def terminate(self) -> None:
        """Ends it without a word to the server."""
        super().terminate()
        if self.given_up is not None:
            self.given_up()


async def open_pool(url: str, size: int, server_settings: dict[str, str]) -> "asyncpg.Pool[Any]":
    """A pool that connects when it is first used. Its sessions keep what is set in them."""

    async def prepare(connection: Any) -> None:
        keep_alive(connection)
        connection.given_up = give_up

    def give_up() -> None:
        tasks.add(task := asyncio.create_task(pool.expire_connections(), name="replace idle connections"))
        task.add_done_callback(tasks.discard)

    tasks: set[asyncio.Task[None]] = set()
    pool: asyncpg.Pool[Any] = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        init=prepare,
        connection_class=Connection,
        reset=_keep_session,
        **options(server_settings),
    )
    return pool


async def connect(url: str, *, timeout: float = CONNECT_TIMEOUT_S, **server_settings: str) -> "asyncpg.Connection[Any]":  # noqa: ASYNC109
    """A connection for one user, outside all pools."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url, **options(server_settings) | {"timeout": timeout})
    keep_alive(connection)
    return connection


def options(server_settings: dict[str, str]) -> dict[str, Any]:
    """What every connection is opened with."""
    return {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": STATEMENT_TIMEOUT_S,
        # Forgotten statements would be closed before the next query, which waits for that without a limit. Ours are few, and all are kept.
        "max_cached_statement_lifetime": 0,
        "server_settings": _KEEPALIVE | server_settings,
    }


def keep_alive(connection: "asyncpg.Connection[Any]") -> None:
    """Lets our kernel find out that the server is gone."""
    # The library has no other way to the socket.
    sock = cast("Any", connection)._transport.get_extra_info("socket")
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has them all.
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE_S),
        ("TCP_KEEPINTVL", _INTERVAL_S),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", _UNANSWERED_MS),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _keep_session(_: object) -> None:
    """No code of ours leaves anything in a session; resetting it would cost each query a second round trip."""
