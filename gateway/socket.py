"""One WebSocket: reads commands, follows channels, writes frames; ends when its client goes, its token ends, or it reads too slowly."""

import asyncio
import time
from contextlib import aclosing, suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import frames
from gateway.channels import Batches, Channels, TooSlowError
from gateway.identity import Visitor
from gateway.outbox import Outbox
from mesh.errors import AlreadyExistsError, InternalError, InvalidArgumentError, ResourceExhaustedError, TreadleError
from mesh.ids import uuid7
from mesh.logs import get_logger

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
        self._tasks: dict[str, asyncio.Task[None]] = {}
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
        while True:
            message = await self._websocket.receive()
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
        await asyncio.sleep(max(0.0, self._visitor.expires_at - time.time()))
        raise CloseSocket(UNAUTHENTICATED, "the access token has expired")

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
        task = self._tasks.get(command.channel)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await self._outbox.put(frames.unsubscribed(command.id, command.channel))

    def _free(self, channel: str) -> str:
        if channel in self._tasks:
            raise AlreadyExistsError(f"{channel} is subscribed to already.", reason="ALREADY_SUBSCRIBED")
        if len(self._tasks) >= MAX_SUBSCRIPTIONS:
            raise ResourceExhaustedError(
                f"A socket can follow {MAX_SUBSCRIPTIONS} channels.",
                reason="TOO_MANY_SUBSCRIPTIONS",
                metadata={"limit": str(MAX_SUBSCRIPTIONS)},
            )
        return channel

    def _start(self, channel: str, batches: Batches, id: str, greeting: str) -> None:
        self._tasks[channel] = self._group.create_task(self._follow(channel, batches, id, greeting), name=channel)

    async def _follow(self, channel: str, batches: Batches, id: str, greeting: str) -> None:
        """Passes a channel's events on. `greeting` answers the command `id` when the first batch, which may be empty, is there."""
        head = frames.event_head(channel)
        try:
            async with aclosing(batches):
                async for batch in batches:
                    if greeting:
                        await self._outbox.put(greeting)
                        greeting = ""
                    for event in batch:
                        await self._outbox.put(f"{head}{event.text}}}")
            await self._outbox.put(frames.ended(channel))
        except TooSlowError:
            raise CloseSocket(TOO_SLOW, _TOO_SLOW_REASON) from None
        except TreadleError as error:
            await self._outbox.put(frames.failed(error, id if greeting else "", channel))
        except Exception:
            error_id = uuid7()
            _log.exception("channel_failed", channel=channel, user_id=self._caller.user_id, error_id=error_id)
            fault = InternalError("Something went wrong on our side.", metadata={"error_id": error_id})
            await self._outbox.put(frames.failed(fault, id if greeting else "", channel))
        finally:
            del self._tasks[channel]


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
