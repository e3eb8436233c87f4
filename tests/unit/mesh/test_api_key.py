"""API keys in a process that is shown them: how often it asks, and what it does without an answer."""

import asyncio
import time

import pytest

from mesh.errors import UnauthenticatedError, UnavailableError
from mesh.identity.access_token import AccessClaims
from mesh.identity.api_key import FRESH_S, STALE_S, ApiKeyVerifier

KEY = "trd_abcdefgh_" + "x" * 43
CLAIMS = AccessClaims("u1", "u@x.test", frozenset({"a:read"}), float("inf"), "k1")


class Desk:
    """Answers for the auth service."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: AccessClaims | Exception = CLAIMS
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, _: str) -> AccessClaims:
        """The answer, when the gate is open."""
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def verifier(desk: Desk) -> ApiKeyVerifier:
    return ApiKeyVerifier(desk.ask)


async def test_many_calls_with_a_new_key_ask_once_also_when_the_first_gives_up(desk: Desk, verifier: ApiKeyVerifier) -> None:
    desk.gate.clear()
    calls = [asyncio.create_task(verifier.verify(KEY)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls[0].cancel()
    desk.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [CLAIMS] * 4
    assert desk.asked == 1


async def test_an_answer_is_used_for_a_while_and_forgotten_on_demand(
    desk: Desk, verifier: ApiKeyVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await verifier.verify(KEY)
    assert desk.asked == 1
    for owner in ("k1", "u1"):
        verifier.forget(owner)
        await verifier.verify(KEY)
    verifier.forget("another")
    await verifier.verify(KEY)
    assert desk.asked == 3
    later = time.monotonic() + FRESH_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    await verifier.verify(KEY)
    assert desk.asked == 4


async def test_known_keys_go_on_while_nobody_answers_but_not_for_ever(
    desk: Desk, verifier: ApiKeyVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await verifier.verify(KEY)
    desk.answer = UnavailableError("Away.")
    later = time.monotonic() + FRESH_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert await verifier.verify(KEY) == CLAIMS
    with pytest.raises(UnavailableError):
        await verifier.verify(KEY.replace("abc", "xyz"))
    later += STALE_S
    with pytest.raises(UnavailableError):
        await verifier.verify(KEY)


async def test_a_key_that_has_ended_is_not_remembered(desk: Desk, verifier: ApiKeyVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    await verifier.verify(KEY)
    desk.answer = UnauthenticatedError("No.", reason="API_KEY_SUSPENDED")
    later = time.monotonic() + FRESH_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    for _ in range(2):
        with pytest.raises(UnauthenticatedError):
            await verifier.verify(KEY)
    assert desk.asked == 3


async def test_nobody_is_asked_about_what_cannot_be_a_key(desk: Desk, verifier: ApiKeyVerifier) -> None:
    for text in ("trd_", "trd_abc", KEY + "x", KEY[:-1], KEY.replace("x", "é"), "trd_ABCDEFGH_" + "x" * 43, KEY + "\n"):
        with pytest.raises(UnauthenticatedError) as caught:
            await verifier.verify(text)
        assert caught.value.reason == "API_KEY_INVALID"
    assert desk.asked == 0
