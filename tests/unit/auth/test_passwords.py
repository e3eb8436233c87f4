"""Password hashing."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from mesh.errors import ResourceExhaustedError
from services.auth import passwords as module
from services.auth.passwords import Passwords


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    hasher = Passwords()
    yield hasher
    hasher.close()


async def test_a_password_matches_its_own_hash_only(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse battery")
    assert hashed.startswith("$argon2id$")
    assert await passwords.matches("correct horse battery", hashed)
    assert not await passwords.matches("correct horse", hashed)
    assert hashed != await passwords.hash("correct horse battery")
    assert not passwords.is_outdated(hashed)


async def test_two_unicode_forms_of_a_password_are_one(passwords: Passwords) -> None:
    assert await passwords.matches("Zu\u0308rich-Zu\u0308rich", await passwords.hash("Zürich-Zürich"))


async def test_no_account_is_no_match_even_for_the_decoy(passwords: Passwords) -> None:
    assert not await passwords.matches("decoy", None)


async def test_a_damaged_hash_is_no_match(passwords: Passwords) -> None:
    assert not await passwords.matches("anything", "not a hash")


async def test_no_account_takes_as_long_as_a_wrong_password(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse battery")

    best: dict[str | None, float] = {}
    # In turns, and as often as it takes: whatever else the machine does slows now the one, now the other, and never makes one faster.
    for turn in range(100):
        known = (hashed, None)[turn % 2]
        start = time.perf_counter()
        await passwords.matches("wrong", known)
        best[known] = min(best.get(known, 1e9), time.perf_counter() - start)
        if turn >= 10 and 0.5 < best[hashed] / best[None] < 2:
            return
    pytest.fail(f"shortest times: {best}")


async def test_hashing_leaves_the_event_loop_free(passwords: Passwords) -> None:
    work = asyncio.gather(*(passwords.hash("x" * 20) for _ in range(4)))
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_too_many_at_once_are_refused_and_the_rest_is_served(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 3)
    results = await asyncio.gather(*(passwords.hash("x" * 20) for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, ResourceExhaustedError)]
    assert len(refused) == 2
    assert refused[0].reason == "SIGN_IN_BUSY"
    assert refused[0].retry_after_s
    assert await passwords.hash("y" * 20)
