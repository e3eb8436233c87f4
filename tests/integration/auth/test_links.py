"""Signed links: mailed over the bus into the mail folder, good once, for one thing, for a while."""

import asyncio
import email
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from mesh.database import Database
from mesh.host import find_services, hosted
from mesh.settings import Settings
from services.auth.link import LinkSigner, Purpose
from services.auth.links import MAX_MAILS

_PASSWORD = "correct horse battery"
_NEW = "staple battery horse"
_DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where mails are written."""
    return tmp_path_factory.mktemp("mail")


@pytest_asyncio.fixture(scope="module")
async def rest(migrated: Settings, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process with auth, user and the gateway."""
    changes = {"mail_folder": str(folder), "public_url": "https://treadle.test/"}
    async with (
        hosted(find_services(["auth", "user", "gateway"]), migrated.model_copy(update=changes)) as host,
        httpx.AsyncClient(base_url=f"http://{host.http_address}") as client,
    ):
        yield client


@pytest_asyncio.fixture
async def ann(rest: httpx.AsyncClient) -> dict[str, Any]:
    """Somebody who has just registered."""
    body = {"email": f"ann-{uuid4().hex}@example.com", "password": _PASSWORD, "display_name": "Ann Ä"}
    session: dict[str, Any] = (await rest.post("/v1/auth/register", json=body)).json()
    return session


def _mails(folder: Path, to: str) -> list[email.message.Message]:
    mails = [email.message_from_bytes(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]
    return [mail for mail in mails if mail["To"] == to]


async def _token(folder: Path, to: str, count: int = 1) -> str:
    """The token in the newest mail to somebody, once so many have come."""
    deadline = time.monotonic() + _DEADLINE_S
    while len(mails := _mails(folder, to)) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    payload = mails[-1].get_payload(decode=True)
    assert isinstance(payload, bytes)
    found = re.search(r"https://treadle\.test/account/[a-z-]+#token=(\S+)", payload.decode())
    assert found, payload
    return found[1]


def _headers(session: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {session['access_token']}"}


def _reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["details"][0]["reason"]


async def _login(rest: httpx.AsyncClient, ann: dict[str, Any], password: str) -> int:
    answer = await rest.post("/v1/auth/login", json={"email": ann["user"]["email"], "password": password})
    return answer.status_code


async def test_a_lost_password_is_replaced_by_a_mailed_link_that_works_once(
    rest: httpx.AsyncClient, ann: dict[str, Any], folder: Path
) -> None:
    to = ann["user"]["email"]
    assert (await rest.post("/v1/auth/password:request_reset", json={"email": to.upper()})).json() == {}
    token = await _token(folder, to)
    answers = await asyncio.gather(*(rest.post("/v1/auth/password:reset", json={"token": token, "new_password": _NEW}) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert (await _login(rest, ann, _PASSWORD), await _login(rest, ann, _NEW)) == (401, 200)
    # Who knew the old password is out.
    assert _reason(await rest.post("/v1/auth/refresh", json={"refresh_token": ann["refresh_token"]})) == (401, "REFRESH_TOKEN_INVALID")


async def test_nobody_learns_from_it_who_has_an_account(rest: httpx.AsyncClient, ann: dict[str, Any], folder: Path) -> None:
    answers = [
        await rest.post("/v1/auth/password:request_reset", json={"email": to}) for to in (ann["user"]["email"], "nobody@example.com")
    ]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "{}")] * 2
    await _token(folder, ann["user"]["email"])
    assert not _mails(folder, "nobody@example.com")


async def test_an_address_is_proved_by_a_mailed_link(
    rest: httpx.AsyncClient, ann: dict[str, Any], folder: Path, database: Database
) -> None:
    await rest.post("/v1/auth/email:request_verification", json={}, headers=_headers(ann))
    token = await _token(folder, ann["user"]["email"])
    verified = await rest.post("/v1/auth/email:verify", json={"token": token})
    assert verified.json() == {"email": ann["user"]["email"]}
    assert _reason(await rest.post("/v1/auth/email:verify", json={"token": token})) == (401, "LINK_INVALID")
    account_id = UUID(ann["user"]["id"])
    assert await database.pool.fetchval("SELECT email_verify_time IS NOT NULL FROM account WHERE id = $1", account_id)


async def test_a_sign_in_link_signs_in_once(rest: httpx.AsyncClient, ann: dict[str, Any]) -> None:
    made = (await rest.post("/v1/auth/sign_in_links", json={}, headers=_headers(ann))).json()
    assert made["link"] == f"https://treadle.test/account/sign-in#token={made['token']}"
    session = (await rest.post("/v1/auth/sign_in_links:redeem", json={"token": made["token"]})).json()
    assert session["user_id"] == ann["user"]["id"]
    assert (await rest.get("/v1/users/me", headers=_headers(session))).status_code == 200
    assert _reason(await rest.post("/v1/auth/sign_in_links:redeem", json={"token": made["token"]})) == (401, "LINK_INVALID")


async def test_a_link_is_good_for_nothing_else_and_cannot_be_made_up(
    rest: httpx.AsyncClient, ann: dict[str, Any], database: Database
) -> None:
    made = (await rest.post("/v1/auth/sign_in_links", json={}, headers=_headers(ann))).json()
    head, claims, signature = made["token"].split(".")
    forged = LinkSigner("A" * 43 + "=", "").link(str(uuid4()), Purpose.RESET, datetime.now(UTC) + timedelta(hours=1)).token
    for token in (made["token"], forged, f"{head}.{claims}.", "x", f"{head}.{claims}.{signature[::-1]}"):
        answer = await rest.post("/v1/auth/password:reset", json={"token": token, "new_password": _NEW})
        assert _reason(answer) == (401, "LINK_INVALID")
    await database.pool.execute("UPDATE link SET expire_time = now() WHERE account_id = $1", UUID(ann["user"]["id"]))
    assert _reason(await rest.post("/v1/auth/sign_in_links:redeem", json={"token": made["token"]})) == (401, "LINK_INVALID")


async def test_nobody_is_flooded_with_mails(rest: httpx.AsyncClient, ann: dict[str, Any], database: Database) -> None:
    for _ in range(MAX_MAILS + 3):
        await rest.post("/v1/auth/password:request_reset", json={"email": ann["user"]["email"]})
    made = await database.pool.fetchval("SELECT count(*) FROM link WHERE account_id = $1", UUID(ann["user"]["id"]))
    assert made == MAX_MAILS


async def test_a_new_password_voids_the_other_links(rest: httpx.AsyncClient, ann: dict[str, Any], folder: Path) -> None:
    to = ann["user"]["email"]
    other = (await rest.post("/v1/auth/sign_in_links", json={}, headers=_headers(ann))).json()["token"]
    await rest.post("/v1/auth/password:request_reset", json={"email": to})
    token = await _token(folder, to)
    await rest.post("/v1/auth/password:reset", json={"token": token, "new_password": _NEW})
    assert _reason(await rest.post("/v1/auth/sign_in_links:redeem", json={"token": other})) == (401, "LINK_INVALID")
