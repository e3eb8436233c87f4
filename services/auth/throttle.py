"""Slows down guessing of passwords: failures are counted per account, per address, and for the two together.

The counts live in the cache, which all processes share. While it is away each process counts by itself.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis.asyncio as redis
from redis.exceptions import RedisError

from mesh.logs import get_logger
from services.auth import errors

# Failures after which nobody may try again until the window is over. One who forgot a password is stopped by the first; the second holds
# against many addresses that guess at one account, the third against one address that guesses at many accounts.
WINDOW_S = 900
MAX_TOGETHER = 10
MAX_PER_ACCOUNT = 50
MAX_PER_ADDRESS = 100
_MAX_LOCAL = 10_000

# How many failures each key has and how long they count, in ms.
_READ = """
local read = {}
for i, key in ipairs(KEYS) do
    read[2 * i - 1] = tonumber(redis.call('GET', key) or 0)
    read[2 * i] = redis.call('PTTL', key)
end
return read
"""
# The window begins with the first failure.
_COUNT = "for _, key in ipairs(KEYS) do if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, ARGV[1]) end end"

_log = get_logger("auth")


@dataclass(frozen=True, slots=True)
class _Counter:
    key: str
    limit: int


class Throttle:
    """Refuses with RESOURCE_EXHAUSTED (SIGN_IN_THROTTLED) who failed too often. Unknown accounts are counted like known ones."""

    def __init__(self, cache: "redis.Redis") -> None:
        """`cache` may be away."""
        self._cache = cache
        self._local: dict[str, tuple[int, float]] = {}

    async def check(self, email: str, source_address: str) -> None:
        """Raises when the account, the address or both together have no try left."""
        counters = _counters(email, source_address)
        keys = [counter.key for counter in counters]
        try:
            read = await self._cache.eval(_READ, len(keys), *keys)
            counts, left_s = read[::2], [max(0, ms) / 1000 for ms in read[1::2]]
        except (RedisError, OSError):
            counts, left_s = self._read_local(keys)
        waits = [wait for counter, count, wait in zip(counters, counts, left_s, strict=True) if count >= counter.limit]
        if waits:
            _log.warning("sign_in_throttled", source_address=source_address)
            raise errors.sign_in_throttled(max(1.0, *waits))

    async def count_failure(self, email: str, source_address: str) -> None:
        """Notes a wrong password, also for an account that does not exist."""
        keys = [counter.key for counter in _counters(email, source_address)]
        try:
            await self._cache.eval(_COUNT, len(keys), *keys, str(WINDOW_S))
        except (RedisError, OSError):
            _log.warning("throttle_is_local")
            self._count_local(keys)

    async def forget(self, email: str, source_address: str) -> None:
        """After the right password: what failed before from there was its owner."""
        key = _counters(email, source_address)[0].key
        self._local.pop(key, None)
        try:
            await self._cache.delete(key)
        except (RedisError, OSError):
            _log.warning("throttle_is_local")

    def _read_local(self, keys: Sequence[str]) -> tuple[list[int], list[float]]:
        now = time.monotonic()
        found = [self._local.get(key, (0, now)) for key in keys]
        return [count if end > now else 0 for count, end in found], [max(0.0, end - now) for _, end in found]

    def _count_local(self, keys: Sequence[str]) -> None:
        now = time.monotonic()
        for key in keys:
            count, end = self._local.get(key, (0, 0.0))
            if len(self._local) >= _MAX_LOCAL:
                del self._local[next(iter(self._local))]
            self._local[key] = (count + 1, end) if end > now else (1, now + WINDOW_S)


def _counters(email: str, source_address: str) -> list[_Counter]:
    """The counters that a try is counted in, the one for both together first. Nobody reads addresses of people in the cache."""
    account = hashlib.sha256(email.encode()).hexdigest()[:32]
    counters = [
        _Counter(f"sign-in:both:{account}:{source_address}", MAX_TOGETHER),
        _Counter(f"sign-in:account:{account}", MAX_PER_ACCOUNT),
    ]
    # Without an edge before us nobody's address is known.
    return [*counters, _Counter(f"sign-in:address:{source_address}", MAX_PER_ADDRESS)] if source_address else counters
