"""Several requests in one call."""

import asyncio
from collections.abc import Callable

import pytest

from mesh.batch import MAX_AT_ONCE, answer_each
from mesh.call import Call
from mesh.contract import methods
from mesh.errors import NotFoundError, UnavailableError


@pytest.fixture
def call() -> Call:
    """A call of some method."""
    return Call(methods()["/treadle.graph.v1.GraphService/BatchGetGraphs"], {}, deadline=0.0)


def handler(worst: list[int]) -> Callable[[int, Call], "asyncio.Future[int]"]:
    """Doubles numbers; knows no 3, and 7 is too much for it. Says in `worst` how many it had at once."""
    at_once = 0

    async def double(number: int, call: Call) -> int:
        nonlocal at_once
        at_once += 1
        worst.append(at_once)
        await asyncio.sleep(0)
        at_once -= 1
        call.response_headers["etag"] = str(number)
        if number == 3:
            raise NotFoundError("no 3")
        if number == 7:
            raise UnavailableError("no 7")
        return number * 2

    return lambda number, call: asyncio.ensure_future(double(number, call))


async def test_answers_come_in_order_and_without_what_is_not_there(call: Call) -> None:
    assert await answer_each(handler([]), [5, 3, 1], call) == [10, None, 2]
    assert call.response_headers == {}


async def test_another_error_is_that_of_all(call: Call) -> None:
    with pytest.raises(UnavailableError):
        await answer_each(handler([]), [5, 7, 1], call)


async def test_few_are_at_work_at_the_same_time(call: Call) -> None:
    worst: list[int] = []
    await answer_each(handler(worst), range(100, 200), call)
    assert max(worst) == MAX_AT_ONCE
