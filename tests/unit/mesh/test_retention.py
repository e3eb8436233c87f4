"""What is too old goes, batch by batch, and a fault does not end it."""

import asyncio
import datetime as dt

from mesh.retention import forgetting


async def test_batches_go_until_there_is_nothing_left_and_faults_are_borne() -> None:
    seen: list[dt.datetime] = []
    answers = [2, 1, 0]
    done = asyncio.Event()

    async def forget(horizon: dt.datetime) -> int:
        seen.append(horizon)
        if len(seen) == 5:
            done.set()
        if len(seen) == 1:
            raise ConnectionError
        return answers.pop(0) if answers else 0

    async with forgetting("things", 10, forget, every_s=0.01):
        await asyncio.wait_for(done.wait(), 5)
    age = dt.datetime.now(dt.UTC) - seen[0]
    assert dt.timedelta(days=10) <= age < dt.timedelta(days=10, minutes=1)


async def test_zero_days_keep_everything() -> None:
    seen: list[dt.datetime] = []

    async def forget(horizon: dt.datetime) -> int:
        seen.append(horizon)
        return 0

    async with forgetting("things", 0, forget, every_s=0.001):
        await asyncio.sleep(0.05)
    assert not seen
