"""NATS with JetStream behind one adapter: connects once, reconnects for ever, and says so in the log."""

import asyncio
from dataclasses import dataclass

from nats.aio.client import Client
from nats.js import JetStreamContext

from mesh.logs import get_logger

# The client's defaults close for good after two minutes and notice a dead peer after four.
PING_EVERY_S = 10
MAX_MISSED_PINGS = 2
RECONNECT_WAIT_S = 0.25
CONNECT_TIMEOUT_S = 2
# Published while away; beyond it a publish raises.
PENDING_BYTES = 8 * 1024 * 1024
PUBLISH_TIMEOUT_S = 5.0
DRAIN_TIMEOUT_S = 5

_log = get_logger("mesh.bus")


@dataclass(frozen=True, slots=True)
class Bus:
    """`nc` for core subjects, `js` for streams."""

    nc: Client
    js: JetStreamContext

    @property
    def is_connected(self) -> bool:
        """False while the server is away; the client goes on trying."""
        return bool(self.nc.is_connected)

    async def close(self) -> None:
        """Sends what is pending and disconnects; at once when the server is away."""
        if self.nc.is_connected:
            await self.nc.drain()
        elif not self.nc.is_closed:
            await self.nc.close()


class _Client(Client):
    """The library's client, less a fault: an answer to a ping that its sender has given up on ends the reading of the whole connection."""

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


async def settled(client: Client, timeout_s: float) -> None:
    """Returns when the server has heard all that was sent so far. Raises the library's errors when it is away or takes too long.

    A cancellation always comes through: the library's own `flush` loses one that comes together with the answer, by `asyncio.wait_for`.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    await client.flush(timeout_s)  # type: ignore[arg-type]  # said to be an int, taken as seconds of any kind
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


async def open_bus(url: str, name: str) -> Bus:
    """Connects; waits for the server when it is not up yet. `name` is shown in the server's monitoring."""

    async def on_error(error: Exception) -> None:
        _log.warning("bus_error", error=type(error).__name__, detail=str(error))

    async def on_lost() -> None:
        if not client.is_draining and not client.is_closed:
            _log.warning("bus_lost")

    async def on_back() -> None:
        _log.info("bus_back")

    client = _Client()
    try:
        await client.connect(
            url,
            name=name,
            error_cb=on_error,
            disconnected_cb=on_lost,
            reconnected_cb=on_back,
            connect_timeout=CONNECT_TIMEOUT_S,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # said to be an int, taken as seconds of any kind
            max_reconnect_attempts=-1,
            ping_interval=PING_EVERY_S,
            max_outstanding_pings=MAX_MISSED_PINGS,
            pending_size=PENDING_BYTES,
            drain_timeout=DRAIN_TIMEOUT_S,
        )
    except BaseException:
        # Cut off between connection and greeting, the library leaves the socket open.
        await client.close()
        raise
    return Bus(client, client.jetstream(timeout=PUBLISH_TIMEOUT_S))
