"""A process as operators see it: one `ready` line, an answer on both doors, a clean end on SIGTERM."""

import asyncio
import json
import os
import signal
import sys
from typing import Any

import grpc.aio
import httpx
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from mesh.settings import Settings

PATIENCE_S = 30.0


def environment(settings: Settings) -> dict[str, str]:
    secrets = {name: getattr(settings, name).get_secret_value() for name in ("database_url", "cache_url", "service_key", "master_key")}
    ours = {f"TREADLE_{name.upper()}": value for name, value in secrets.items()}
    return {**os.environ, **ours, "TREADLE_NATS_URL": settings.nats_url, "TREADLE_LOG_FORMAT": "json", "TREADLE_INSTANCE": "proc-1"}


async def line(stream: asyncio.StreamReader, event: str) -> dict[str, Any]:
    """The first log line of this event."""
    async with asyncio.timeout(PATIENCE_S):
        while text := await stream.readline():
            found: dict[str, Any] = json.loads(text)
            if found["event"] == event:
                return found
    raise AssertionError(f"the log ended without {event}")


async def test_it_says_when_it_is_ready_and_stops_when_told(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mesh.cli.main", "serve", "block"), stderr=asyncio.subprocess.PIPE, env=environment(settings)
    )
    assert process.stderr is not None
    try:
        ready = await line(process.stderr, "ready")
        assert ready["services"] == ["block"]
        assert ready["instance"] == "proc-1"
        async with grpc.aio.insecure_channel(ready["grpc_address"]) as channel:
            answer = await HealthStub(channel).Check(HealthCheckRequest(service="treadle.block.v1.BlockService"))
        assert answer.status == HealthCheckResponse.SERVING
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{ready['http_address']}/healthz")).status_code == 200
        process.send_signal(signal.SIGTERM)
        await line(process.stderr, "stopped")
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_never_prints_its_secrets(settings: Settings) -> None:
    changed = environment(settings) | {"TREADLE_SERVICE_KEY": "", "TREADLE_DATABASE_URL": "postgresql://treadle:hunter2@127.0.0.1:1/x"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mesh.cli.main", "serve", "user"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=changed,
    )
    async with asyncio.timeout(PATIENCE_S):
        output, _ = await process.communicate()
    assert process.returncode != 0
    assert b"hunter2" not in output
    assert b"service key" in output
