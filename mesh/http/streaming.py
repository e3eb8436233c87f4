"""Server streams over HTTP: newline-delimited JSON, or server-sent events for clients that accept them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from google.protobuf.message import Message
from starlette.types import Send

from mesh.call import Call
from mesh.chain.errors import mapped as masked
from mesh.dispatch import Dispatcher, Read
from mesh.errors import TreadleError
from mesh.http.attention import WhileClientStays
from mesh.http.responses import encode_headers, headers_for, send_error
from mesh.status import to_json
from mesh.tasks import end

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
# A stream that has nothing to say yet shows the client after this time that it is open; a refusal that takes longer comes as its last line.
OPEN_AFTER_S = 1.0
# How often a reader of server-sent events gets a comment, which it skips: proxies on the way cut what is silent, often after a minute.
BEAT_EVERY_S = 15.0
_BEAT = b":\n\n"
# JSON text may hold line breaks between tokens; inside strings they are escaped, so this changes no value.
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


class BrokenOffError(Exception):
    """A stream of bytes that cannot go on; makes the server close the connection."""


class StreamResponse:
    """Runs one stream to its end: the last line tells of an error, and the handler is cancelled when the client leaves.

    An error before the first message is an ordinary error response. Each message is sent at once.
    """

    def __init__(self, send: Send, write: Callable[[Message], bytes], *, is_sse: bool, media_type: str = "") -> None:
        """`write` makes the JSON of a message; with a `media_type`, the bytes that the client gets as they are."""
        self._media_type = media_type
        self._send = send
        self._write = write
        self._is_sse = is_sse
        self._is_open = False
        self._is_over = False
        self._keeper: asyncio.Task[None] | None = None

    async def run(self, dispatcher: Dispatcher, call: Call, read: Read, client_gone: Callable[[], Awaitable[None]]) -> None:
        """Returns when the stream has ended, either way. `client_gone` returns when the client has left. Run it in a task of its own: the
        dispatcher leaves the current call in the task's context.
        """
        # Most streams are over before anybody has to be told that they are open.
        timer = asyncio.get_running_loop().call_later(OPEN_AFTER_S, self._keep_open, call)
        try:
            with WhileClientStays(client_gone):
                await self._pump(dispatcher, call, read)
        finally:
            timer.cancel()
            if self._keeper is not None:
                await end(self._keeper)

    def _keep_open(self, call: Call) -> None:
        self._keeper = asyncio.create_task(self._show_life(call), name="beat")

    async def _show_life(self, call: Call) -> None:
        """Opens the stream, and shows now and then that it is. Newline-delimited JSON has no comments: its readers get nothing more."""
        if not self._is_open:
            await self._open(call)
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})
        while self._is_sse:
            await asyncio.sleep(BEAT_EVERY_S)
            if not self._is_over:
                await self._send({"type": "http.response.body", "body": _BEAT, "more_body": True})

    async def _pump(self, dispatcher: Dispatcher, call: Call, read: Read) -> None:
        try:
            async with aclosing(dispatcher.stream(call, read)) as messages:
                async for message in messages:
                    line = self._line(call, message)
                    await self._open(call)
                    await self._send({"type": "http.response.body", "body": line, "more_body": True})
        except TreadleError as error:
            await self._fail(call, error)
            return
        await self._open(call)
        await self._end()

    async def _fail(self, call: Call, error: TreadleError) -> None:
        if not self._is_open:
            self._is_open = True
            await send_error(self._send, error, headers_for(call))
            return
        if self._media_type:
            # Bytes have no room for an error: without a proper end the client sees that they are not all.
            raise BrokenOffError(error.reason) from error
        text = b'{"error":' + to_json(error) + b"}"
        line = b"event: error\ndata: " + text + b"\n\n" if self._is_sse else text + b"\n"
        await self._send({"type": "http.response.body", "body": line, "more_body": True})
        await self._end()

    async def _open(self, call: Call) -> None:
        if self._is_open:
            return
        self._is_open = True
        headers = {
            "content-type": self._media_type or (SSE if self._is_sse else NDJSON),
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            **headers_for(call),
        }
        await self._send({"type": "http.response.start", "status": 200, "headers": encode_headers(headers)})

    async def _end(self) -> None:
        self._is_over = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _line(self, call: Call, message: Message) -> bytes:
        try:
            text = self._write(message)
            if self._media_type:
                return text
            text = text.translate(_ONE_LINE)
        except Exception as error:
            raise masked(call, error) from None
        return b"data: " + text + b"\n\n" if self._is_sse else text + b"\n"
