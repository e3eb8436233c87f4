"""The measuring client reads answers that come whole, in chunks and in pieces."""

import asyncio
from collections.abc import Sequence

import pytest

from mesh.cli.http_lane import Answer, LaneBrokenError, open_lane


async def _answer(*pieces: bytes) -> Answer:
    """What the client makes of a server that answers in these pieces, then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await _send(writer, pieces)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        lane = await open_lane(f"{host}:{port}")
        try:
            return await lane.request(b"GET / HTTP/1.1\r\n\r\n")
        finally:
            lane.close()


async def _send(writer: asyncio.StreamWriter, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        # The client reads in the same loop: a turn for it between two pieces.
        await asyncio.sleep(0)
    writer.close()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"\r\no", b"k"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n", b"o\r\n1\r\nk\r\n0\r\n", b"\r\n"),
    ],
)
async def test_an_answer_is_whole_however_it_comes(pieces: tuple[bytes, ...]) -> None:
    assert await _answer(*pieces) == Answer(200, b"ok")


async def test_a_lost_connection_is_said() -> None:
    with pytest.raises(LaneBrokenError):
        await _answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
