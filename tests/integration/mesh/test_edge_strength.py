"""Hostile clients: the edge stays up and goes on serving others. A real Envoy, raw connections."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import httpx
import pytest
import pytest_asyncio

from mesh.edge.policy import EdgePolicy, Patience
from mesh.host import Host, hosted
from mesh.settings import Settings
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Mesh, local_settings

KEYS = "/.well-known/jwks.json"
UPDATE_ME = "/treadle.user.v1.UserService/UpdateMe"
# Honest clients are served within this while an attack goes on; quiet machines need a hundredth.
SERVED_WITHIN_S = 3.0
GIB = 1024**3


@pytest.fixture(scope="module")
def local() -> Settings:
    return local_settings()


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return Mesh()


@pytest_asyncio.fixture(scope="module")
async def host(mesh: Mesh, local: Settings) -> AsyncIterator[Host]:
    async with hosted(mesh.services(), local) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def edge(host: Host) -> AsyncIterator[str]:
    patience = Patience(headers_s=2, request_s=4, idle_connection_s=3)
    async with edge_before(host, policy=EdgePolicy(patience=patience), UpdateMe=0.0) as address:
        yield address


@pytest.fixture
def token(mesh: Mesh, local: Settings) -> dict[str, str]:
    return {"authorization": f"Bearer {mesh.auth.token(local)}"}


@pytest_asyncio.fixture
async def others(edge: str, token: dict[str, str]) -> AsyncIterator[list[float]]:
    """Honest clients during the test: the seconds that each of their calls took. Every call must succeed."""
    took: list[float] = []
    stop = asyncio.Event()

    async def call_again_and_again() -> None:
        async with httpx.AsyncClient(base_url=f"http://{edge}", timeout=20, headers=token) as client:
            while not stop.is_set():
                started = time.monotonic()
                assert (await client.get("/v1/users/me")).status_code == 200
                took.append(time.monotonic() - started)
                await asyncio.sleep(0.02)

    callers = [asyncio.create_task(call_again_and_again()) for _ in range(2)]
    yield took
    # A short attack must not be over before anybody called.
    async with asyncio.timeout(10):
        while len(took) < 2 * len(callers) and not any(caller.done() for caller in callers):  # noqa: ASYNC110 - calls in flight
            await asyncio.sleep(0.02)
    stop.set()
    await asyncio.gather(*callers)
    assert max(took) < SERVED_WITHIN_S
    async with httpx.AsyncClient() as fresh:
        assert (await fresh.get(f"http://{edge}{KEYS}")).status_code == 200


async def opened(edge: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = edge.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def answer_to(edge: str, request: bytes, patience_s: float = 1.5) -> bytes:
    """All that the edge says until it closes the connection, or for so long."""
    reader, writer = await opened(edge)
    said = b""
    try:
        writer.write(request)
        async with asyncio.timeout(patience_s):
            while part := await reader.read(65536):
                said += part
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return said


class TestSlowClients:
    """Who sends a byte now and then holds nothing but a connection, and not for long."""

    async def test_slow_headers_are_cut_and_others_are_served(self, edge: str, others: list[float]) -> None:
        connections = [await opened(edge) for _ in range(300)]
        for _, writer in connections:
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")
        started = time.monotonic()
        for letter in b"abcdefghij":
            for _, writer in connections:
                writer.write(b"x-%c: 1\r\n" % letter)
            await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            said = await asyncio.gather(*(reader.read() for reader, _ in connections), return_exceptions=True)
        assert time.monotonic() - started < 8
        assert {answer[:12] for answer in said if isinstance(answer, bytes)} <= {b"HTTP/1.1 408", b""}
        for _, writer in connections:
            writer.close()

    async def test_connections_that_say_nothing_are_closed(self, edge: str, others: list[float]) -> None:
        connections = [await opened(edge) for _ in range(100)]
        async with asyncio.timeout(10):
            assert set(await asyncio.gather(*(reader.read() for reader, _ in connections))) == {b""}
        for _, writer in connections:
            writer.close()


class TestLargeRequests:
    """What is too much is refused before it costs much."""

    async def test_ten_thousand_headers(self, edge: str, others: list[float]) -> None:
        headers = b"".join(b"x-%d: 1\r\n" % number for number in range(10_000))
        said = await answer_to(edge, b"GET / HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n")
        assert said.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))

    async def test_ten_thousand_headers_over_http2(self, edge: str, others: list[float]) -> None:
        async with Http2(edge) as client:
            headers = [*client.get(KEYS), *((f"x-{number}", "1") for number in range(10_000))]
            client.connection.config.validate_outbound_headers = False
            client.connection.max_outbound_frame_size = 16384
            client.connection.send_headers(1, headers, end_stream=True)
            events = await client.exchange(1.5)
        refused = [event for event in events if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated)]
        statuses = [dict(event.headers or [])[b":status"] for event in events if isinstance(event, h2.events.ResponseReceived)]
        assert refused or statuses == [b"431"]

    async def test_a_body_of_a_gibibyte(self, edge: str, token: dict[str, str], others: list[float]) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < GIB:
                sent += 1 << 20
                yield bytes(1 << 20)

        async with httpx.AsyncClient(base_url=f"http://{edge}", timeout=20) as client:
            for length in ({"content-length": str(GIB)}, {}):
                sent, status = 0, 413
                headers = {**token, "content-type": "application/json", **length}
                # The edge may close while we are still sending, which few clients survive with the answer in hand.
                with contextlib.suppress(httpx.TransportError):
                    status = (await client.patch("/v1/users/me", content=endless(), headers=headers)).status_code
                assert status == 413
                assert sent < GIB / 4


class Http2:
    """A raw HTTP/2 client."""

    def __init__(self, edge: str) -> None:
        self._edge = edge
        self.is_closed = False
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))

    async def __aenter__(self) -> "Http2":
        self._reader, self.writer = await opened(self._edge)
        self.connection.initiate_connection()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def get(self, path: str) -> list[tuple[str, str]]:
        """The headers of a GET."""
        return [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", self._edge)]

    async def flush(self) -> None:
        """Sends what was said. Raises ConnectionError when the edge has closed."""
        self.writer.write(self.connection.data_to_send())
        await self.writer.drain()

    async def exchange(self, patience_s: float) -> Sequence[h2.events.Event]:
        """Sends, then reads for so long or until the edge closes."""
        found: list[h2.events.Event] = []
        try:
            await self.flush()
            async with asyncio.timeout(patience_s):
                while data := await self._reader.read(65536):
                    found += self.connection.receive_data(data)
            self.is_closed = True
        except ConnectionError:
            self.is_closed = True
        except (TimeoutError, h2.exceptions.ProtocolError):
            pass
        return found


class TestHttp2Floods:
    """What HTTP/2 lets a client do cheaply."""

    async def test_rapid_reset_ends_the_connection_that_does_it(self, edge: str, token: dict[str, str], others: list[float]) -> None:
        async def flood() -> bool:
            async with Http2(edge) as client:
                headers = [*client.get("/v1/users/me"), *token.items()]
                try:
                    for number in range(20_000):
                        stream = 2 * number + 1
                        client.connection.send_headers(stream, headers, end_stream=True)
                        client.connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
                        if number % 100 == 99:
                            await client.flush()
                            await asyncio.sleep(0)
                except ConnectionError:
                    return True
                return any(isinstance(event, h2.events.ConnectionTerminated) for event in await client.exchange(2))

        assert all(await asyncio.gather(*(flood() for _ in range(3))))

    async def test_a_flood_of_pings_and_settings_is_survived(self, edge: str, others: list[float]) -> None:
        async with Http2(edge) as client:
            for _ in range(20_000):
                client.connection.ping(b"12345678")
            for _ in range(2000):
                client.connection.update_settings({3: 100})
            await client.exchange(2)

    async def test_headers_without_end_are_cut(self, edge: str, others: list[float]) -> None:
        async with Http2(edge) as client:
            await client.flush()
            # HEADERS without END_HEADERS, then CONTINUATION frames for as long as anybody listens.
            client.writer.write(_frame(1, 0, 1, b"\x82\x84\x86"))
            filler = _frame(9, 0, 1, b"\x00\x01a\x7f\x80\x7f" + b"b" * 255)
            with contextlib.suppress(ConnectionError):
                for _ in range(5000):
                    client.writer.write(filler)
                    await client.writer.drain()
            await client.exchange(3)
            assert client.is_closed

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\xff" * 9 + b"\xff" * 100,
            b"\x00\x00\x08\x06\x00\x00\x00\x00\x01" + b"12345678",
            b"\x00\x00\x05\x00\x00\x00\x00\x00\x05hello",
            b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
            b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\xff\xff\xff\xff",
        ],
        ids=["noise", "ping-on-a-stream", "data-before-headers", "frame-of-16-MiB", "window-too-large"],
    )
    async def test_malformed_frames_end_only_their_connection(self, edge: str, others: list[float], garbage: bytes) -> None:
        async with Http2(edge) as client:
            await client.flush()
            client.writer.write(garbage)
            await client.exchange(3)
            assert client.is_closed


class TestMalformedGrpc:
    """Messages that are none."""

    BODIES = (b"", b"\0", b"\0\0\0\0", b"\0\xff\xff\xff\xff", b"\x01\0\0\0\x05hello", b"\xff" * 64, b"\0\0\0\0\x02\x08", bytes(250))

    @pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web+proto", "application/grpc-web-text"])
    async def test_they_get_a_status_and_harm_nobody(self, edge: str, token: dict[str, str], others: list[float], kind: str) -> None:
        async def answer(body: bytes) -> bytes:
            lines = [f"POST {UPDATE_ME} HTTP/1.1", f"host: {edge}", f"content-type: {kind}", f"content-length: {len(body)}", "te: trailers"]
            lines += [f"{name}: {value}" for name, value in token.items()]
            return await answer_to(edge, "\r\n".join([*lines, "", ""]).encode() + body, patience_s=2.5)

        for body, said in zip(self.BODIES, await asyncio.gather(*map(answer, self.BODIES)), strict=True):
            assert said.startswith(b"HTTP/1.1 "), (body, said[:200])
            assert not said.startswith(b"HTTP/1.1 500"), body


class TestSmuggling:
    """Nobody can make the edge and what is behind it disagree about where a request ends or which path it has."""

    @pytest.mark.parametrize(
        "head",
        [
            b"content-length: 4\r\ntransfer-encoding: chunked",
            b"content-length: 4\r\ncontent-length: 5",
            b"content-length: 4, 5",
            b"content-length: +4",
            b"content-length: 0x4",
            b"transfer-encoding: xchunked",
            b"transfer-encoding: chunked, identity",
            b"transfer-encoding : chunked",
            b"transfer_encoding: chunked",
            b"x\0y: 1",
            b"x: a\nb: c\0",
        ],
    )
    async def test_ambiguous_requests_are_refused(self, edge: str, token: dict[str, str], head: bytes) -> None:
        first = b"PATCH /v1/users/me HTTP/1.1\r\nhost: x\r\nauthorization: " + token["authorization"].encode() + b"\r\n"
        smuggled = b"0\r\n\r\nGET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n"
        said = await answer_to(edge, first + head + b"\r\n\r\n" + smuggled)
        assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")), said[:200]
        assert said.count(b"HTTP/1.1 ") == 1

    @pytest.mark.parametrize(
        "path", ["/v1/../v1/users/me", "/v1/./users/me", "//v1//users/me", "/x/../v1/users/me", "/v1/users/%6d%65", "/%76%31/users/me"]
    )
    async def test_another_spelling_of_a_path_needs_the_same_token(self, edge: str, path: str) -> None:
        said = await answer_to(edge, f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert said.startswith((b"HTTP/1.1 401", b"HTTP/1.1 404")), said[:200]

    @pytest.mark.parametrize("path", ["/v1%2fusers/me", "/v1/users%5cme", "/v1/..%2fusers/me", "/v1/%2e%2e%2fx"])
    async def test_escaped_slashes_are_refused(self, edge: str, token: dict[str, str], path: str) -> None:
        said = await answer_to(edge, f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {token['authorization']}\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 400"), said[:200]

    async def test_old_protocols_are_not_served(self, edge: str) -> None:
        assert (await answer_to(edge, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 426")
        assert not (await answer_to(edge, b"GET /\r\n")).startswith(b"HTTP/1.1 200")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
