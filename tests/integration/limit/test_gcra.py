"""The script that counts, on a real Valkey: no call too many, whoever asks at the same time."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio as redis

from mesh.ids import uuid7
from mesh.rates import Rate
from services.limit.gcra import Bucket, Counter


@pytest_asyncio.fixture
async def cache(cache_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(cache_url, decode_responses=True)
    yield client
    await client.aclose()


@pytest.fixture
def counter(cache: "redis.Redis") -> Counter:
    return Counter(cache)


def bucket(per_second: float, burst: int, key: str = "") -> Bucket:
    return Bucket(key or f"limit:test:{uuid7()}", Rate(per_second, burst))


async def test_a_burst_is_granted_and_not_one_more(counter: Counter) -> None:
    one = bucket(0.01, 5)
    verdicts = [await counter.take([one]) for _ in range(7)]
    assert [verdict.wait_s == 0 for verdict in verdicts] == [True] * 5 + [False] * 2
    assert [verdict.levels[0].left for verdict in verdicts] == [4, 3, 2, 1, 0, 0, 0]
    assert 99 < verdicts[-1].wait_s <= 100


async def test_askers_at_the_same_time_share_the_burst(cache_url: str, counter: Counter) -> None:
    other = redis.Redis.from_url(cache_url, decode_responses=True)
    try:
        one, counters = bucket(0.01, 30), [counter, Counter(other)]
        verdicts = await asyncio.gather(*(counters[number % 2].take([one]) for number in range(100)))
    finally:
        await other.aclose()
    assert sum(verdict.wait_s == 0 for verdict in verdicts) == 30


async def test_calls_come_back_at_the_rate_by_the_clock_of_the_server(counter: Counter) -> None:
    one = bucket(50, 10)
    await counter.take([one], calls=10)
    refused = await counter.take([one])
    assert 0 < refused.wait_s <= 0.02
    started, granted = time.monotonic(), 0
    while time.monotonic() - started < 0.5:
        granted += (await counter.take([one])).wait_s == 0
        await asyncio.sleep(0.001)
    elapsed_s = time.monotonic() - started
    assert 0.6 * 50 * elapsed_s < granted <= 50 * elapsed_s + 1


async def test_what_one_bucket_refuses_no_other_counts(counter: Counter) -> None:
    full, wide = bucket(0.01, 1), bucket(0.01, 100)
    await counter.take([full])
    refused = await counter.take([full, wide])
    assert refused.wait_s > 0
    assert (await counter.take([wide])).levels[0].left == 99


async def test_a_part_of_what_is_left_is_lent_and_counted(counter: Counter) -> None:
    one = bucket(0.01, 161)
    verdict = await counter.take([one], wanted=1000)
    assert verdict.lent == 10
    assert verdict.levels[0].left == 161 - 1 - 10
    assert (await counter.take([one], wanted=3)).lent == 3


async def test_who_has_little_left_is_lent_nothing(counter: Counter) -> None:
    one = bucket(0.01, 16)
    assert [(await counter.take([one], wanted=8)).lent for _ in range(16)] == [0] * 16
    assert (await counter.take([one], wanted=8)).wait_s > 0


async def test_a_wider_plan_counts_at_once(counter: Counter) -> None:
    key = f"limit:test:{uuid7()}"
    await counter.take([bucket(1 / 3600, 5, key)], calls=5)
    assert (await counter.take([bucket(1 / 3600, 5, key)])).wait_s > 3000
    assert (await counter.take([bucket(100, 10, key)])).wait_s <= 0.01


async def test_more_than_a_burst_at_once_is_refused_and_not_counted(counter: Counter) -> None:
    one = bucket(1, 5)
    assert (await counter.take([one], calls=6)).wait_s > 0
    assert (await counter.take([one], calls=5)).wait_s == 0


async def test_idle_buckets_leave_nothing_behind(cache: "redis.Redis", counter: Counter) -> None:
    one = bucket(1000, 10)
    await counter.take([one], calls=10)
    assert 0 < await cache.pttl(one.key) <= 20
