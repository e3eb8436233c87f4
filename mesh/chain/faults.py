"""What goes wrong below us, in the words of the error model: one table for the libraries that reach other servers."""

import sys

import asyncpg
import nats.errors
import redis.exceptions

from mesh.errors import ResourceExhaustedError, TreadleError, UnavailableError

# A dependency cannot be reached, or went away while it was asked.
_AWAY: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    # A pooled connection was used in the moment between the server's last words and the end of the socket.
    asyncpg.InternalClientError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.NoServersError,
    nats.errors.NoRespondersError,
    nats.errors.StaleConnectionError,
    redis.exceptions.ConnectionError,
    redis.exceptions.BusyLoadingError,
    ConnectionError,
)

# A bounded pool had nothing left in time.
_EXHAUSTED: tuple[type[BaseException], ...] = (asyncpg.TooManyConnectionsError,)


def translate(error: BaseException) -> TreadleError | None:
    """The error a caller should see for a fault of a dependency; None when it is no such fault."""
    # A process that has not loaded it cannot meet its errors, and need not pay for it.
    alchemy = sys.modules.get("sqlalchemy.exc")
    if isinstance(error, _EXHAUSTED) or (alchemy and isinstance(error, alchemy.TimeoutError)):
        return ResourceExhaustedError("The service is at its limit. Try again shortly.", reason="POOL_EXHAUSTED")
    if alchemy and isinstance(error, alchemy.DBAPIError):
        away = error.connection_invalidated or isinstance(error.__cause__, _AWAY) or _is_away(error.orig)
    else:
        away = isinstance(error, _AWAY)
    if away:
        return UnavailableError("A part of the system is away for now. Try again shortly.", reason="DEPENDENCY_UNAVAILABLE")
    return None


def _is_away(error: BaseException | None) -> bool:
    """SQLAlchemy wraps the driver's error once more; the driver's own is its cause."""
    return error is not None and (isinstance(error, _AWAY) or isinstance(error.__cause__, _AWAY))
