"""Streams come to be as they are declared, whatever an earlier version left."""

import pytest
from nats.js.api import StorageType, StreamConfig

from mesh import streams
from mesh.bus import open_bus
from mesh.ids import uuid7


async def test_a_stream_moves_to_the_storage_that_is_declared(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"TEST-{uuid7()}"
    bus = await open_bus(nats_url, "test")
    try:
        for storage in (StorageType.FILE, StorageType.FILE, StorageType.MEMORY):
            monkeypatch.setattr(streams, "STREAMS", (StreamConfig(name=name, subjects=[f"test.{name}"], storage=storage),))
            await streams.ensure_streams(bus.js)
            assert (await bus.js.stream_info(name)).config.storage == storage
        await bus.js.delete_stream(name)
    finally:
        await bus.close()
