"""The layer in Valkey: a hash for each group of values that end together."""

import asyncio
import time
from typing import cast

import redis.asyncio as redis
from redis.exceptions import RedisError

from mesh.logs import get_logger

# Slower than this it is no cache.
TIMEOUT_S = 0.05
# How long it is left alone after it failed.
AWAY_S = 1.0
# How long a group that was dropped takes no values: they were read before it changed.
TOMBSTONE_S = 10.0
_RETRY_S = 0.5
# The field of a tombstone; no part has this name.
_DROPPED = "!"

_PUT = f"""
if redis.call('HEXISTS', KEYS[1], '{_DROPPED}') == 1 then return 0 end
local is_new = redis.call('EXISTS', KEYS[1]) == 0
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if is_new then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
_DROP = f"""
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '{_DROPPED}', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""

_log = get_logger("mesh.cache")


class SharedLayer:
    """Values of one cache as bytes. While Valkey is away it has nothing and takes nothing."""

    def __init__(self, server: "redis.Redis", name: str, ttl_s: float) -> None:
        """`server` must not decode answers. A group ends `ttl_s` after its first value came."""
        self._server = server
        self._prefix = f"cache:{name}:"
        self._ttl_ms = int(ttl_s * 1000)
        self._put = server.register_script(_PUT)
        self._drop = server.register_script(_DROP)
        self._away_until = float("-inf")
        self._dropping: dict[str, float] = {}
        self._retrying: asyncio.Task[None] | None = None

    async def get(self, group: str, part: str) -> bytes | None:
        """The value, or None when it is not there or nobody can say."""
        if time.monotonic() < self._away_until or group in self._dropping:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = cast(bytes | None, await self._server.hget(self._prefix + group, part))
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        return found

    async def put(self, group: str, part: str, value: bytes) -> None:
        """Keeps a value, unless its group was dropped a moment ago."""
        if time.monotonic() < self._away_until:
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._put(keys=[self._prefix + group], args=[part, value, self._ttl_ms])
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)

    async def drop(self, group: str) -> None:
        """Forgets a group. What cannot be forgotten now is tried again until it would have ended by itself."""
        if not await self._try_drop(group):
            self._dropping[group] = time.monotonic() + self._ttl_ms / 1000
            if self._retrying is None or self._retrying.done():
                self._retrying = asyncio.create_task(self._retry(), name="cache-drop")

    async def close(self) -> None:
        """Gives up on what could not be forgotten."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)

    async def _try_drop(self, group: str) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._drop(keys=[self._prefix + group], args=[int(TOMBSTONE_S * 1000)])
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return False
        return True

    async def _retry(self) -> None:
        while self._dropping:
            await asyncio.sleep(_RETRY_S)
            now = time.monotonic()
            for group, ends_at in list(self._dropping.items()):
                if now > ends_at or await self._try_drop(group):
                    del self._dropping[group]

    def _failed(self, error: Exception) -> None:
        if time.monotonic() >= self._away_until:
            _log.warning("shared_cache_away", cache=self._prefix, fault=type(error).__name__)
        self._away_until = time.monotonic() + AWAY_S
