"""A lean HTTP/1.1 client for measuring: one kept connection, one request at a time, no more than the edge needs."""

import asyncio
from dataclasses import dataclass

_HEAD_END = b"\r\n\r\n"
_NO_BODY_STATUS = 204


class LaneBrokenError(ConnectionError):
    """The connection was lost before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; of a stream, all of it."""

    status: int
    body: bytes


class HttpLane(asyncio.Protocol):
    """One connection to the edge. Make it with `open_lane`."""

    def __init__(self) -> None:
        """Not connected yet."""
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._buffer = b""

    async def request(self, head: bytes, body: bytes = b"") -> Answer:
        """Sends a request and returns its answer. Raises LaneBrokenError when the connection is gone."""
        if self._transport is None or self._transport.is_closing():
            raise LaneBrokenError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head + body)
        return await self._answer

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's own."""
        self._transport = transport  # type: ignore[assignment]  # always that of a stream

    def data_received(self, data: bytes) -> None:
        """Asyncio's own."""
        self._buffer += data
        found = _parse(self._buffer)
        if found is not None and self._answer is not None and not self._answer.done():
            self._buffer = b""
            self._answer.set_result(found)

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's own."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LaneBrokenError("the connection was lost"))


async def open_lane(target: str) -> HttpLane:
    """Connects to `host:port`. Raises OSError."""
    host, _, port = target.rpartition(":")
    _, lane = await asyncio.get_running_loop().create_connection(HttpLane, host, int(port))
    return lane


def _parse(data: bytes) -> Answer | None:
    """The response in `data`; None while it is not whole."""
    head, separator, body = data.partition(_HEAD_END)
    if not separator:
        return None
    status = int(head[9:12])
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return _chunked(status, body)
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return Answer(status, body) if len(body) >= length or status == _NO_BODY_STATUS else None


def _chunked(status: int, data: bytes) -> Answer | None:
    if not data.endswith(b"0\r\n\r\n"):
        return None
    parts: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(data[at:end], 16)
        if size == 0:
            return Answer(status, b"".join(parts))
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size
