"""Counts calls in Valkey: the generic cell rate algorithm, in one script that runs as a whole, on Valkey's clock."""

from collections.abc import Sequence
from dataclasses import dataclass

import redis.asyncio as redis

from mesh.rates import Rate

# Of what is left to somebody, one part in so many is lent at most: the rest is there for others who ask in their name.
_LENT_SHARE = 16

# A key holds the time, in us, at which its bucket would be full again. KEYS: the buckets that the call is counted in. ARGV: calls, further
# calls that would be welcome, one part of what is left that may be lent, then us per call and burst of each bucket. Returns calls lent,
# us to wait (0: granted), then calls left and us until full of each bucket.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local calls, wanted, share = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at, every, left, wait, room = {}, {}, {}, 0, math.huge
for i, key in ipairs(KEYS) do
    every[i] = tonumber(ARGV[2 + 2 * i])
    local window = every[i] * tonumber(ARGV[3 + 2 * i])
    full_at[i] = math.min(math.max(tonumber(redis.call('GET', key) or 0), now), now + window)
    left[i] = math.floor((now + window - full_at[i]) / every[i] + 0.000001)
    room = math.min(room, left[i])
    if left[i] < calls then wait = math.max(wait, math.ceil(full_at[i] + calls * every[i] - window - now), 1) end
end
local lent = 0
if wait == 0 then
    lent = math.min(wanted, math.floor((room - calls) / share))
    for i, key in ipairs(KEYS) do
        full_at[i] = full_at[i] + (calls + lent) * every[i]
        left[i] = left[i] - calls - lent
        redis.call('SET', key, string.format('%.0f', full_at[i]), 'PX', math.ceil((full_at[i] - now) / 1000) + 1)
    end
end
local answer = {lent, wait}
for i = 1, #KEYS do
    answer[1 + 2 * i] = left[i]
    answer[2 + 2 * i] = math.ceil(full_at[i] - now)
end
return answer
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Something that calls are counted under, and how often they may come."""

    key: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class Level:
    """How a bucket stands: calls left, seconds until all are there again."""

    left: int
    full_in_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the calls are granted. `wait_s` is 0 then; `lent` are further calls, counted already, that may be made without asking."""

    lent: int
    wait_s: float
    levels: Sequence[Level]


class Counter:
    """Grants calls when every bucket has room for them, else none is counted."""

    def __init__(self, cache: "redis.Redis") -> None:
        self._script = cache.register_script(_SCRIPT)

    async def take(self, buckets: Sequence[Bucket], calls: int = 1, wanted: int = 0) -> Verdict:
        """Counts the calls, and as many of the `wanted` ones as can be lent. Raises RedisError or OSError while the cache is away."""
        arguments: list[str | float] = [calls, wanted, _LENT_SHARE]
        for bucket in buckets:
            arguments += [1_000_000 / bucket.rate.per_second, bucket.rate.burst]
        lent, wait_us, *levels = await self._script(keys=[bucket.key for bucket in buckets], args=arguments)
        return Verdict(lent, wait_us / 1e6, [Level(left, us / 1e6) for left, us in zip(levels[::2], levels[1::2], strict=True)])
