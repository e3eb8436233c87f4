"""One WebSocket: reads commands, follows channels, writes frames; ends when its client goes, its token ends, or it reads too slowly."""

import asyncio
import math
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import frames
from gateway.channels import Batches, Channels
from gateway.feeds import TooSlowError
from gateway.identity import Visitor
from gateway.outbox import Outbox
from mesh.errors import AlreadyExistsError, InternalError, InvalidArgumentError, ResourceExhaustedError, TreadleError
from mesh.ids import uuid7
from mesh.logs import get_logger
from mesh.tasks import end

INTERNAL = 1011
TRY_AGAIN_LATER = 1013
UNAUTHENTICATED = 4001
FORBIDDEN = 4003
TOO_SLOW = 4008

MAX_SUBSCRIPTIONS = 100
# A frame that the connection does not take for this long: the client does not read.
STALL_S = 5.0
# How long the closing frame may take behind what is already on its way.
CLOSE_S = 30.0
# How long a channel that is left may take to stop, and how often it is told.
LEAVE_S = 0.5
LEAVE_TRIES = 3
_TOO_SLOW_REASON = "too slow; come back with after_seq"


_log = get_logger("gateway.socket")


class CloseSocket(Exception):  # noqa: N818 - a decision, not an error
    """Ends the socket with a close code; None when its client has gone already."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Socket:
    """An accepted WebSocket of a visitor. `run` it once."""

    def __init__(self, websocket: WebSocket, visitor: Visitor, channels: Channels) -> None:
        self._websocket = websocket
        self._visitor = visitor
        self._caller = visitor.caller
        self._channels = channels
        self._outbox = Outbox()
        self._followed: dict[str, _Subscription] = {}
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Serves the socket to its end, and closes it."""
        end = CloseSocket(INTERNAL, "something went wrong on our side")
        try:
            async with self._group:
                self._group.create_task(self._write(), name="socket-write")
                self._group.create_task(self._expire(), name="socket-expire")
                await self._read()
        except* CloseSocket as ends:
            end = _first(ends)
        finally:
            _log.info("socket_closed", user_id=self._caller.user_id, code=end.code or 0)
            await close(self._websocket, end)

    async def _read(self) -> None:
        try:
            while True:
                await self._take(await self._websocket.receive())
        finally:
            # The group asks its tasks once only.
            following = [subscription.task for subscription in self._followed.values() if subscription.task is not None]
            await end(*following, ask_again_s=LEAVE_S, tries=LEAVE_TRIES)

    async def _take(self, message: Message) -> None:
        if message["type"] == "websocket.disconnect":
            raise CloseSocket(None)
        text = message.get("text")
        try:
            if text is None:
                raise InvalidArgumentError("Frames are JSON text.", reason="FRAME_INVALID")
            await self._obey(frames.parse(text))
        except TreadleError as error:
            await self._outbox.put(frames.failed(error, frames.id_of(text or "")))

    async def _write(self) -> None:
        while True:
            frame = await self._outbox.get()
            try:
                async with asyncio.timeout(STALL_S):
                    await self._websocket.send_text(frame)
            except TimeoutError:
                raise CloseSocket(TOO_SLOW, _TOO_SLOW_REASON) from None
            except (WebSocketDisconnect, RuntimeError):
                raise CloseSocket(None) from None

    async def _expire(self) -> None:
        raise CloseSocket(UNAUTHENTICATED, await until_end(self._visitor))

    async def _obey(self, command: frames.Command) -> None:
        match command:
            case frames.Ping():
                await self._outbox.put(frames.pong(command.id))
            case frames.Unsubscribe():
                await self._unsubscribe(command)
            case frames.Subscribe(execution_id=""):
                await self._subscribe_graph(command)
            case frames.Subscribe():
                await self._subscribe_execution(command)

    async def _subscribe_execution(self, command: frames.Subscribe) -> None:
        followed = await self._channels.executions.get(self._caller, command.execution_id)
        channel = self._free(f"execution:{followed.id}")
        await self._outbox.put(frames.subscribed(command.id, channel, followed.last_seq))
        self._start(channel, self._channels.execution(self._caller, followed, command.after_seq), command.id, "")

    async def _subscribe_graph(self, command: frames.Subscribe) -> None:
        graph_id = await self._channels.executions.check_graph(self._caller, command.graph_id)
        channel = self._free(f"graph:{graph_id}")
        # The answer means that nothing is missed from now on, so the channel gives it when it listens.
        self._start(channel, self._channels.graph(self._caller, graph_id), command.id, frames.subscribed(command.id, channel))

    async def _unsubscribe(self, command: frames.Unsubscribe) -> None:
        subscription = self._followed.pop(command.channel, None)
        if subscription is not None:
            await subscription.end()
            if subscription.greeting:
                # Each command is answered, also one that was taken back before it took effect.
                await self._outbox.put(subscription.greeting)
        await self._outbox.put(frames.unsubscribed(command.id, command.channel))

    def _free(self, channel: str) -> str:
        if channel in self._followed:
            raise AlreadyExistsError(f"{channel} is subscribed to already.", reason="ALREADY_SUBSCRIBED")
        if len(self._followed) >= MAX_SUBSCRIPTIONS:
            raise ResourceExhaustedError(
                f"A socket can follow {MAX_SUBSCRIPTIONS} channels.",
                reason="TOO_MANY_SUBSCRIPTIONS",
                metadata={"limit": str(MAX_SUBSCRIPTIONS)},
            )
        return channel

    def _start(self, channel: str, batches: Batches, id: str, greeting: str) -> None:
        """`greeting` answers the command `id` when the first batch, which may be empty, is there."""
        subscription = self._followed[channel] = _Subscription(channel, id, greeting)
        subscription.task = self._group.create_task(self._follow(subscription, batches), name=channel)

    async def _follow(self, subscription: "_Subscription", batches: Batches) -> None:
        """Passes a channel's events on."""
        channel = subscription.channel
        head = frames.event_head(channel)
        try:
            async with aclosing(batches):
                async for batch in batches:
                    if subscription.greeting:
                        greeting, subscription.greeting = subscription.greeting, ""
                        await self._say(subscription, greeting)
                    for event in batch:
                        await self._say(subscription, f"{head}{event.text}}}")
            await self._say(subscription, frames.ended(channel))
        except TooSlowError:
            raise CloseSocket(TOO_SLOW, _TOO_SLOW_REASON) from None
        except TreadleError as error:
            await self._say(subscription, frames.failed(error, subscription.open_command, channel))
        except Exception:
            error_id = uuid7()
            _log.exception("channel_failed", channel=channel, user_id=self._caller.user_id, error_id=error_id)
            fault = InternalError("Something went wrong on our side.", metadata={"error_id": error_id})
            await self._say(subscription, frames.failed(fault, subscription.open_command, channel))
        finally:
            if self._followed.get(channel) is subscription:
                del self._followed[channel]

    async def _say(self, subscription: "_Subscription", frame: str) -> None:
        """Sends a frame of a channel; nothing after it was left."""
        if self._followed.get(subscription.channel) is not subscription:
            raise asyncio.CancelledError
        await self._outbox.put(frame)


@dataclass(slots=True)
class _Subscription:
    """A channel that the socket follows. `greeting` is the answer to the command `id`, until that is given."""

    channel: str
    id: str
    greeting: str
    task: "asyncio.Task[None] | None" = None

    @property
    def open_command(self) -> str:
        """The command that has no answer yet; empty when there is none."""
        return self.id if self.greeting else ""

    async def end(self) -> None:
        """Stops following. A task that has not begun never does; one that does not heed its cancellation finds out by itself."""
        if self.task is not None:
            await end(self.task, ask_again_s=LEAVE_S, tries=LEAVE_TRIES)


async def until_end(visitor: Visitor) -> str:
    """Waits until the visitor's proof of who they are ends; returns why, in words."""
    left_s = max(0.0, visitor.expires_at - time.time())
    try:
        # An API key may have no end.
        async with asyncio.timeout(left_s if math.isfinite(left_s) else None):
            await visitor.ended()
    except TimeoutError:
        return "the access token has expired"
    return "the sign-in has ended"


async def close(websocket: WebSocket, end: CloseSocket) -> None:
    """Closes a socket, unless its client has gone. Gives up when the client does not take the closing frame."""
    if end.code is None:
        return
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(CLOSE_S):
            await websocket.close(end.code, end.reason)


def _first(ends: ExceptionGroup[CloseSocket]) -> CloseSocket:
    """What ended the socket: the first decision counts, wherever the group holds it."""
    found: BaseException = ends
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, CloseSocket) else CloseSocket(INTERNAL)
