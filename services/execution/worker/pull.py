"""Pulls executions to run from the dispatch stream: as many as there are free slots, as soon as they are there.

The client library's `fetch` holds a half-full batch back until its timeout; this keeps one open request instead and hands over each message
as it comes.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from mesh.bus import Bus
from mesh.logs import get_logger
from mesh.streams import DISPATCH, DISPATCH_RUN, ensure_streams

_log = get_logger("execution.pull")

CONSUMER = "workers"
# A claim takes milliseconds; a message whose worker died meanwhile comes again after this. The sweep is faster.
ACK_WAIT_S = 10.0
# A request is renewed this often, so one that a server restart swallowed costs no more.
REQUEST_S = 5.0
_PAUSE_S = 0.5
_NEXT = f"$JS.API.CONSUMER.MSG.NEXT.{DISPATCH}.{CONSUMER}"


class Pull:
    """One open request for messages on the shared consumer. `free` says how many may come, `deliver` takes each."""

    def __init__(self, bus: Bus, free: Callable[[], int], freed: asyncio.Event, deliver: Callable[[Msg], None]) -> None:
        """`freed` is set whenever `free` may have grown."""
        self._bus = bus
        self._free = free
        self._freed = freed
        self._deliver = deliver
        self._asked = 0
        # Until the server has said otherwise, stream and consumer may not be there.
        self._is_refused = True
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Pulls until cancelled, through any outage of the bus."""
        inbox = self._bus.nc.new_inbox()
        subscription = await self._bus.nc.subscribe(inbox, cb=self._on_message)
        try:
            while True:
                try:
                    if self._is_refused:
                        await self._ensure_consumer()
                    await self._request(inbox)
                except (OSError, nats.errors.Error) as error:
                    _log.warning("pull_failed", error=type(error).__name__)
                    await asyncio.sleep(_PAUSE_S)
        finally:
            with suppress(OSError, nats.errors.Error):
                await subscription.unsubscribe()

    async def _request(self, inbox: str) -> None:
        """Asks for what is free and waits until that has come, or the request has run out."""
        while (free := self._free()) <= 0:
            self._freed.clear()
            await self._freed.wait()
        self._asked = free
        await self._bus.nc.publish(_NEXT, orjson.dumps({"batch": free, "expires": int(REQUEST_S * 1e9)}), inbox)
        ends = asyncio.get_running_loop().time() + REQUEST_S + _PAUSE_S
        with suppress(TimeoutError):
            async with asyncio.timeout_at(ends):
                while self._asked > 0:
                    self._changed.clear()
                    await self._changed.wait()

    async def _on_message(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        if status is None:
            self._asked -= 1
            self._deliver(message)
        elif status != "100":
            # The request ended: its time was up, or the server says why it cannot be served.
            if status not in {"404", "408"}:
                _log.warning("pull_refused", status=status, detail=(message.headers or {}).get("Description", ""))
                self._is_refused = True
            self._asked = 0
        self._changed.set()

    async def _ensure_consumer(self) -> None:
        """Makes what is not there: at first, and after the bus lost its store."""
        await ensure_streams(self._bus.js)
        config = ConsumerConfig(
            durable_name=CONSUMER,
            filter_subject=DISPATCH_RUN,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=100_000,
        )
        await self._bus.js.add_consumer(DISPATCH, config)
        self._is_refused = False
