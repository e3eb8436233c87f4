"""A durable reader of a stream: each message is handled at least once, in the order of the stream as long as nothing fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from mesh.bus import Bus
from mesh.chain.faults import translate
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.streams import dead_subject, ensure_streams
from mesh.tasks import end

# Longer than any handler takes; a message whose process died comes again after this.
ACK_WAIT_S = 60.0
# How often a message is tried that fails by itself; while a server is away, tries do not count.
MAX_ATTEMPTS = 8
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
_RETRY_S = 1.0
_FETCH_S = 30.0

_log = get_logger("mesh.consumer")

# Handles a message's subject and body; must bear to be repeated. What it raises brings the message back later.
Handle = Callable[[str, bytes], Awaitable[None]]


class NotYetError(Exception):
    """What has to be done needs more time: the message comes again, however often."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Which messages, and under which name the place in the stream is kept. Processes with the same name share the messages."""

    stream: str
    subject: str
    durable: str


@asynccontextmanager
async def consuming(resources: Resources, reader: Reader, handle: Handle) -> AsyncIterator[None]:
    """Handles messages in the background while the context lasts; outlives a bus that is away."""
    task = asyncio.create_task(_run(resources, reader, handle), name=reader.durable)
    try:
        yield
    finally:
        await end(task)


async def _run(resources: Resources, reader: Reader, handle: Handle) -> None:
    bus = await resources.bus()
    while True:
        try:
            await ensure_streams(bus.js)
            await _follow(bus, reader, handle)
        except Exception as error:  # whatever it was, nobody else reads these messages
            _log.warning("consumer_waits_for_bus", durable=reader.durable, fault=type(error).__name__)
            await asyncio.sleep(_RETRY_S)


async def _follow(bus: Bus, reader: Reader, handle: Handle) -> None:
    config = ConsumerConfig(durable_name=reader.durable, filter_subject=reader.subject, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S)
    subscription = await bus.js.pull_subscribe(reader.subject, durable=reader.durable, stream=reader.stream, config=config)
    try:
        while True:
            with suppress(nats.errors.TimeoutError):
                # One at a time: the library holds a batch that is not full back until its time is up.
                for message in await subscription.fetch(1, timeout=_FETCH_S):
                    await _handle(bus, reader, handle, message)
    finally:
        with suppress(OSError, nats.errors.Error):
            await subscription.unsubscribe()


async def _handle(bus: Bus, reader: Reader, handle: Handle, message: Msg) -> None:
    try:
        await handle(message.subject, message.data)
    except Exception as error:  # whatever it was, the message must not be lost
        attempt = int(message.metadata.num_delivered or 1)
        is_waiting = isinstance(error, NotYetError) or translate(error) is not None
        if not is_waiting and attempt >= MAX_ATTEMPTS:
            _log.error("message_given_up", durable=reader.durable, subject=message.subject, exc_info=error)
            await bus.js.publish(dead_subject(reader.durable), message.data)
            await message.term()
            return
        if not isinstance(error, NotYetError):
            _log.warning("message_delayed", durable=reader.durable, attempt=attempt, fault=type(error).__name__)
        await message.nak(delay=pause_s(attempt))
    else:
        await message.ack()


def pause_s(attempt: int) -> float:
    """How long to wait before the next attempt."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(attempt, 20), _LONGEST_PAUSE_S)
