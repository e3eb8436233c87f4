"""Accounts and refresh tokens on PostgreSQL."""

import asyncio
import time
from uuid import UUID, uuid4

import pytest

from mesh.database import Database
from mesh.errors import AlreadyExistsError, UnauthenticatedError
from services.auth.passwords import Passwords
from services.auth.repository.accounts import Accounts
from services.auth.sign_in import Session, SignIn
from services.auth.tokens import digest

_PASSWORD = "correct horse battery"


def _address() -> str:
    return f"Ann.{uuid4().hex}@Example.com"


async def _refused(sign_in: SignIn, token: str) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await sign_in.refresh(token)
    return caught.value.reason


async def test_an_account_signs_in_by_its_address_in_any_case(sign_in: SignIn) -> None:
    email = _address()
    made = await sign_in.register(email, _PASSWORD, "")
    assert made.account.email == email.lower()
    assert made.account.display_name == email.lower().partition("@")[0]
    assert UUID(made.account.id).version == 7
    back = await sign_in.login(email.upper(), _PASSWORD)
    assert back.account == made.account
    assert back.refresh_token != made.refresh_token


async def test_an_address_is_taken_once_also_when_two_register_at_once(sign_in: SignIn) -> None:
    email = _address()
    results = await asyncio.gather(
        *(sign_in.register(variant, _PASSWORD, "Ann") for variant in (email, email.lower(), email.upper())), return_exceptions=True
    )
    assert sum(isinstance(result, Session) for result in results) == 1
    assert [result.reason for result in results if isinstance(result, AlreadyExistsError)] == ["EMAIL_TAKEN"] * 2


async def test_an_address_is_the_same_in_both_unicode_forms(sign_in: SignIn) -> None:
    name = uuid4().hex
    made = await sign_in.register(f"Jos\u00e9.{name}@example.com", _PASSWORD, "")
    assert (await sign_in.login(f"jose\u0301.{name}@example.com", _PASSWORD)).account == made.account


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(sign_in: SignIn) -> None:
    made = await sign_in.register(_address(), _PASSWORD, "")
    answers = []
    for email, password in ((made.account.email, "wrong"), (_address(), _PASSWORD)):
        with pytest.raises(UnauthenticatedError) as caught:
            await sign_in.login(email, password)
        answers.append((caught.value.reason, caught.value.message, caught.value.metadata))
    assert answers[0] == answers[1]
    assert answers[0][0] == "INVALID_CREDENTIALS"


async def test_refresh_tokens_rotate(sign_in: SignIn) -> None:
    session = await sign_in.register(_address(), _PASSWORD, "")
    seen = {session.refresh_token}
    for _ in range(3):
        session = await sign_in.refresh(session.refresh_token)
        assert session.refresh_token not in seen
        seen.add(session.refresh_token)


async def test_reuse_ends_the_family_and_no_other(sign_in: SignIn) -> None:
    first = await sign_in.register(_address(), _PASSWORD, "")
    other = await sign_in.login(first.account.email, _PASSWORD)
    second = await sign_in.refresh(first.refresh_token)
    assert await _refused(sign_in, first.refresh_token) == "REFRESH_TOKEN_REUSED"
    assert await _refused(sign_in, second.refresh_token) == "REFRESH_TOKEN_INVALID"
    assert (await sign_in.refresh(other.refresh_token)).account == first.account


async def test_of_trades_at_the_same_moment_at_most_one_wins(sign_in: SignIn, database: Database) -> None:
    session = await sign_in.register(_address(), _PASSWORD, "")
    results = await asyncio.gather(*(sign_in.refresh(session.refresh_token) for _ in range(6)), return_exceptions=True)
    won = [result for result in results if isinstance(result, Session)]
    assert len(won) == 1
    assert {result.reason for result in results if isinstance(result, UnauthenticatedError)} == {"REFRESH_TOKEN_REUSED"}
    assert await _refused(sign_in, won[0].refresh_token) == "REFRESH_TOKEN_INVALID"


async def test_an_unknown_address_is_refused_as_late_as_a_wrong_password(sign_in: SignIn) -> None:
    made = await sign_in.register(_address(), _PASSWORD, "")
    times: dict[str, list[float]] = {made.account.email: [], _address(): []}
    for _ in range(5):
        for email, taken in times.items():
            before = time.perf_counter()
            with pytest.raises(UnauthenticatedError):
                await sign_in.login(email, "wrong password")
            taken.append(time.perf_counter() - before)
    known, unknown = (min(taken) for taken in times.values())
    # A check of the password takes some 20 ms, all the rest together a few.
    assert unknown > known / 2


async def test_logout_ends_the_family_by_any_of_its_tokens_and_may_be_repeated(sign_in: SignIn) -> None:
    first = await sign_in.register(_address(), _PASSWORD, "")
    second = await sign_in.refresh(first.refresh_token)
    for token in (first.refresh_token, first.refresh_token, "never given out"):
        await sign_in.logout(token)
    assert await _refused(sign_in, second.refresh_token) == "REFRESH_TOKEN_INVALID"


async def test_an_expired_or_unknown_token_is_refused(sign_in: SignIn, database: Database) -> None:
    session = await sign_in.register(_address(), _PASSWORD, "")
    await database.pool.execute(
        "UPDATE refresh_token SET expire_time = now() - interval '1 s' WHERE digest = $1", digest(session.refresh_token)
    )
    assert await _refused(sign_in, session.refresh_token) == "REFRESH_TOKEN_INVALID"
    assert await _refused(sign_in, "never given out") == "REFRESH_TOKEN_INVALID"


async def test_what_has_expired_is_forgotten(sign_in: SignIn, database: Database) -> None:
    first = await sign_in.register(_address(), _PASSWORD, "")
    second = await sign_in.refresh(first.refresh_token)
    await database.pool.execute("UPDATE refresh_token SET expire_time = now() WHERE digest = $1", digest(first.refresh_token))
    await sign_in.refresh(second.refresh_token)
    tokens = "SELECT count(*) FROM refresh_token t JOIN refresh_family f ON f.id = t.family_id WHERE f.account_id = $1"
    account_id = UUID(first.account.id)
    assert await database.pool.fetchval(tokens, account_id) == 2
    await database.pool.execute("UPDATE refresh_family SET expire_time = now() WHERE account_id = $1", account_id)
    await sign_in.login(first.account.email, _PASSWORD)
    assert await database.pool.fetchval(tokens, account_id) == 1


async def test_the_database_holds_neither_passwords_nor_tokens(sign_in: SignIn, database: Database) -> None:
    session = await sign_in.register(_address(), _PASSWORD, "")
    account = await database.pool.fetchrow("SELECT * FROM account WHERE id = $1", UUID(session.account.id))
    token = await database.pool.fetchrow("SELECT * FROM refresh_token WHERE digest = $1", digest(session.refresh_token))
    assert account is not None
    assert token is not None
    assert _PASSWORD not in str(account)
    assert session.refresh_token not in str(token)


async def test_a_hash_of_lower_cost_is_replaced_at_the_next_sign_in(
    sign_in: SignIn, database: Database, repository: Accounts, passwords: Passwords
) -> None:
    from argon2 import PasswordHasher  # noqa: PLC0415 - only here is another cost wanted

    session = await sign_in.register(_address(), _PASSWORD, "")
    cheap = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(_PASSWORD)
    await database.pool.execute("UPDATE account SET password_hash = $1 WHERE id = $2", cheap, UUID(session.account.id))
    await sign_in.login(session.account.email, _PASSWORD)
    known = await repository.find_credentials(session.account.email)
    assert known is not None
    assert known.password_hash is not None
    assert known.password_hash != cheap
    assert not passwords.is_outdated(known.password_hash)
