"""The servers of the local stack start, do their job and stop cleanly."""

import asyncio
import socket
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import nats as nats_client
import pytest
import redis.asyncio

from mesh.local import nats, postgres
from mesh.local.ports import LOOPBACK, Reservations, free_port, is_free
from mesh.local.program import running


async def test_postgres_commits_durably_and_wants_the_password(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
        assert str(await connection.fetchval("SHOW server_version")).startswith("18")
    finally:
        await connection.close()
    user, _, rest = postgres_url.partition("@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"{user.rsplit(':', 1)[0]}:wrong@{rest}")


async def test_asking_postgres_for_its_health_leaves_no_trace_in_its_log(postgres_url: str, servers_home: Path) -> None:
    port = urlsplit(postgres_url).port
    assert port is not None
    log = servers_home / "logs" / "postgres.log"
    # The server is everyone's: what other tests left there does not count.
    before = log.read_text().count("reset by peer")
    for _ in range(5):
        assert postgres.is_ready(port)
    connection = await asyncpg.connect(postgres_url)
    try:
        # Each look is a process of the server; when none is left, each has written what it had to say.
        ours = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query = ''"
        async with asyncio.timeout(10):
            while await connection.fetchval(ours):  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.02)
    finally:
        await connection.close()
    assert log.read_text().count("reset by peer") == before


async def test_jetstream_keeps_messages_over_a_restart() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        port = free_port()
        program = nats.prepare(home, port, free_port(avoid=[port]), "secret", home / "nats.log")
        with running(program):
            bus = await nats_client.connect(nats.url(port, "secret"))
            await bus.jetstream().add_stream(name="T", subjects=["t.>"])
            await bus.jetstream().publish("t.one", b"kept")
            await bus.close()
        assert is_free(port)
        with running(program):
            bus = await nats_client.connect(nats.url(port, "secret"))
            message = await bus.jetstream().get_last_msg("T", "t.one")
            assert message.data == b"kept"
            await bus.close()


async def test_valkey_answers_only_with_the_password(cache_url: str) -> None:
    cache = redis.asyncio.from_url(cache_url)
    await cache.set("key", "value")
    assert await cache.get("key") == b"value"
    await cache.aclose()
    stranger = redis.asyncio.from_url(f"redis://{cache_url.rsplit('@', 1)[1]}")
    with pytest.raises(redis.exceptions.AuthenticationError):
        await stranger.get("key")
    await stranger.aclose()


async def test_a_port_that_another_server_shares_is_not_free() -> None:
    server = await asyncio.start_server(lambda _r, _w: None, LOOPBACK, 0, reuse_port=True)
    port = server.sockets[0].getsockname()[1]
    assert not is_free(port)
    assert free_port(port) != port
    server.close()
    await server.wait_closed()


def test_a_wildcard_listener_takes_the_port() -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))  # noqa: S104 - what the test is about
        listener.listen(1)
        assert not is_free(listener.getsockname()[1])


def test_two_stacks_never_choose_the_same_port() -> None:
    one, other = Reservations(), Reservations()
    try:
        first = [one.take(29_900) for _ in range(3)]
        second = [other.take(29_900) for _ in range(3)]
        assert len({*first, *second}) == 6
        assert not other.reserve(first[0])
        one.release()
        assert other.reserve(first[0])
    finally:
        one.release()
        other.release()
