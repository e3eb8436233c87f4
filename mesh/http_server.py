"""The socket and the uvicorn server under the HTTP door, and the paths beside the RPCs."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mesh.http.errors import RouteUnknownError
from mesh.http.responses import refuse
from mesh.metrics import Metrics

METRICS_PATH = "/metrics"
# Peers are proxies that keep connections for long: whoever closes an idle one first must not be us, or a request is lost in between.
KEEP_ALIVE_S = 7200
BACKLOG = 2048
# Frames from clients are commands; what they get may be longer.
WS_MAX_BYTES = 64 * 1024


class HttpServer(uvicorn.Server):
    """Uvicorn on a socket of ours, in a loop and under signals that are not its business."""

    def __init__(self, app: ASGIApp, sock: socket.socket, drain_s: float) -> None:
        """`drain_s` is how long calls in flight may take once it stops."""
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="websockets-sansio",
            # A compressor for each socket is memory that a stranger can ask for; events are short.
            ws_per_message_deflate=False,
            ws_max_size=WS_MAX_BYTES,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(drain_s)),
        )
        super().__init__(config)
        self._sock = sock
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The host handles signals."""
        yield

    async def start(self) -> None:
        """Takes requests from now on. Raises what keeps it from that."""
        self._task = asyncio.create_task(self.serve([self._sock]), name="http-door")
        listening = asyncio.create_task(self._listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await self._task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's own; says when it is done."""
        await super().startup(sockets)
        self._listening.set()

    async def stop(self) -> None:
        """Takes no more connections, waits for requests in flight within the drain time, then cancels them."""
        self.should_exit = True
        if self._task is not None:
            await self._task


def bind(address: str) -> tuple[socket.socket, str]:
    """A socket on `host:port` or `unix:/path`, and its address with the port it got. Raises OSError when it is taken."""
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(path))
        return sock, address
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Where TCP is not named, asyncio's own loop leaves Nagle's algorithm on, and a body waits 40 ms for its headers to be acknowledged.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Not SO_REUSEPORT: two servers must not silently share a port.
    if os.name == "posix":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host.strip("[]"), int(port)))
    except OSError:
        sock.close()
        raise
    return sock, f"{host}:{sock.getsockname()[1]}"


def beside(metrics: Metrics, asgi: ASGIApp | None) -> ASGIApp:
    """What the HTTP door serves beside RPCs: `/metrics`, the service's own app, and 404 for the rest."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == METRICS_PATH and not _came_through_edge(scope):
            await _answer(send, 200, b"text/plain; version=0.0.4; charset=utf-8", metrics.text())
        elif asgi is not None:
            await asgi(scope, receive, send)
        elif scope["type"] == "http":
            await refuse(scope, send, RouteUnknownError("There is nothing at this path.", metadata={"path": scope["path"]}))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    return app


def _came_through_edge(scope: Scope) -> bool:
    """Metrics are for operators inside; the edge marks what it lets in."""
    return any(name == b"x-forwarded-for" or name.startswith(b"x-envoy-") for name, _ in scope["headers"])


async def _answer(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
