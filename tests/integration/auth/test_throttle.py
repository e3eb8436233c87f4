"""Guessing of passwords is slowed down, with the cache and without it."""

from uuid import uuid4

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from mesh.errors import ResourceExhaustedError, UnauthenticatedError
from services.auth.account import Client
from services.auth.sign_in import SignIn
from services.auth.throttle import MAX_PER_ACCOUNT, MAX_PER_ADDRESS, MAX_TOGETHER, WINDOW_S, Throttle

_PASSWORD = "correct horse battery"


def _address() -> str:
    return f"{uuid4().hex}@example.com"


async def _is_stopped(throttle: Throttle, email: str, source: str) -> bool:
    try:
        await throttle.check(email, source)
    except ResourceExhaustedError as error:
        return error.reason == "SIGN_IN_THROTTLED" and 0 < (error.retry_after_s or 0) <= WINDOW_S
    return False


@pytest.fixture(params=["cache", "no cache"])
def throttle_(request: pytest.FixtureRequest, throttle: Throttle) -> Throttle:
    """With the cache, and with one that is away."""
    return throttle if request.param == "cache" else Throttle(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))


async def test_one_address_has_few_tries_at_one_account(throttle_: Throttle) -> None:
    email, source, other = _address(), f"192.0.2.1-{uuid4().hex}", f"192.0.2.2-{uuid4().hex}"
    for _ in range(MAX_TOGETHER):
        assert not await _is_stopped(throttle_, email, source)
        await throttle_.count_failure(email, source)
    assert await _is_stopped(throttle_, email, source)
    # Its owner, elsewhere, is not locked out by that; nor is another account here.
    assert not await _is_stopped(throttle_, email, other)
    assert not await _is_stopped(throttle_, _address(), source)
    await throttle_.forget(email, source)
    assert not await _is_stopped(throttle_, email, source)


async def test_many_addresses_have_not_many_tries_at_one_account(throttle_: Throttle) -> None:
    email = _address()
    for _ in range(MAX_PER_ACCOUNT):
        await throttle_.count_failure(email, uuid4().hex)
    assert await _is_stopped(throttle_, email, uuid4().hex)


async def test_one_address_has_not_many_tries_at_many_accounts(throttle_: Throttle) -> None:
    source = uuid4().hex
    for _ in range(MAX_PER_ADDRESS):
        await throttle_.count_failure(_address(), source)
    assert await _is_stopped(throttle_, _address(), source)


async def test_the_right_password_does_not_help_once_stopped(sign_in: SignIn) -> None:
    email, client = _address(), Client(uuid4().hex)
    await sign_in.register(email, _PASSWORD, "")
    for _ in range(MAX_TOGETHER):
        with pytest.raises(UnauthenticatedError):
            await sign_in.login(email, "wrong", client)
    with pytest.raises(ResourceExhaustedError):
        await sign_in.login(email, _PASSWORD, client)
    assert await sign_in.login(email, _PASSWORD, Client(uuid4().hex))


async def test_an_account_that_does_not_exist_is_stopped_like_any_other(sign_in: SignIn) -> None:
    email, client = _address(), Client(uuid4().hex)
    for _ in range(MAX_TOGETHER):
        with pytest.raises(UnauthenticatedError):
            await sign_in.login(email, "wrong", client)
    with pytest.raises(ResourceExhaustedError):
        await sign_in.login(email, "wrong", client)
