"""Accounts and profiles over REST, as browsers use them."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from mesh.host import find_services, hosted
from mesh.settings import Settings

_PASSWORD = "correct horse battery"


@pytest_asyncio.fixture(scope="module")
async def rest(migrated: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process with both services."""
    async with (
        hosted(find_services(["auth", "user"]), migrated) as host,
        httpx.AsyncClient(base_url=f"http://{host.http_address}") as client,
    ):
        yield client


def _somebody(**fields: Any) -> dict[str, Any]:
    return {"email": f"Ann.{uuid4().hex}@Example.com", "password": _PASSWORD, "display_name": "Ann"} | fields


async def test_the_life_of_a_session(rest: httpx.AsyncClient) -> None:
    body = _somebody()
    made = await rest.post("/v1/auth/register", json=body)
    assert made.status_code == 200
    session = made.json()
    assert set(session) == {"user", "access_token", "refresh_token", "expires_in"}
    assert session["user"] == {"id": session["user"]["id"], "email": body["email"].lower(), "display_name": "Ann"}

    headers = {"authorization": f"Bearer {session['access_token']}"}
    me = (await rest.get("/v1/users/me", headers=headers)).json()
    assert (me["id"], me["display_name"], me["timezone"]) == (session["user"]["id"], "Ann", "UTC")
    changed = await rest.patch("/v1/users/me", headers=headers, json={"timezone": "Asia/Tokyo"})
    assert (changed.json()["timezone"], changed.json()["display_name"]) == ("Asia/Tokyo", "Ann")

    credentials = {"email": body["email"], "password": _PASSWORD}
    again = (await rest.post("/v1/auth/login", json=credentials)).json()
    fresh = await rest.post("/v1/auth/refresh", json={"refresh_token": again["refresh_token"]})
    assert fresh.json()["user"] == session["user"]
    out = await rest.post("/v1/auth/logout", json={"refresh_token": fresh.json()["refresh_token"]})
    assert (out.status_code, out.json()) == (200, {})
    ended = await rest.post("/v1/auth/refresh", json={"refresh_token": fresh.json()["refresh_token"]})
    assert (ended.status_code, ended.json()["code"]) == (401, 16)


async def test_a_profile_changes_only_as_it_was_seen(rest: httpx.AsyncClient) -> None:
    session = (await rest.post("/v1/auth/register", json=_somebody())).json()
    headers = {"authorization": f"Bearer {session['access_token']}"}
    seen = await rest.get("/v1/users/me", headers=headers)
    etag = seen.headers["etag"]
    assert (await rest.get("/v1/users/me", headers=headers | {"if-none-match": etag})).status_code == 304
    first = await rest.patch("/v1/users/me", headers=headers | {"if-match": etag}, json={"timezone": "Asia/Tokyo"})
    assert first.status_code == 200
    assert first.headers["etag"] not in {"", etag}
    stale = await rest.patch("/v1/users/me", headers=headers | {"if-match": etag}, json={"timezone": "Europe/Berlin"})
    assert (stale.status_code, stale.json()["details"][0]["reason"]) == (412, "PROFILE_CHANGED")
    kept = (await rest.get("/v1/users/me", headers=headers)).json()
    assert kept["timezone"] == "Asia/Tokyo"


async def test_the_keys_are_a_key_set(rest: httpx.AsyncClient) -> None:
    answer = await rest.get("/.well-known/jwks.json")
    keys = answer.json()["keys"]
    assert keys
    assert all(key["kty"] == "EC" and key["alg"] == "ES256" and key["use"] == "sig" and key["kid"] for key in keys)
    assert "d" not in answer.text.split('"')


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"email": "no address"}, "email"),
        ({"email": ""}, "email"),
        ({"email": "a@" + "x" * 300 + ".com"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 201}, "password"),
        ({"display_name": "x" * 101}, "display_name"),
        ({"admin": True}, "admin"),
        ({"password": 12345678901}, "password"),
    ],
)
async def test_a_bad_registration_names_its_field(rest: httpx.AsyncClient, fields: dict[str, Any], path: str) -> None:
    answer = await rest.post("/v1/auth/register", json=_somebody(**fields))
    assert answer.status_code == 400
    assert answer.json()["code"] == 3
    assert path in answer.text


async def test_errors_have_status_and_reason(rest: httpx.AsyncClient) -> None:
    body = _somebody()
    await rest.post("/v1/auth/register", json=body)
    taken = await rest.post("/v1/auth/register", json=body)
    assert (taken.status_code, taken.json()["details"][0]["reason"]) == (409, "EMAIL_TAKEN")
    wrong = await rest.post("/v1/auth/login", json={"email": body["email"], "password": "wrong"})
    assert (wrong.status_code, wrong.json()["details"][0]["reason"]) == (401, "INVALID_CREDENTIALS")
    nobody = await rest.get("/v1/users/me")
    assert (nobody.status_code, nobody.json()["details"][0]["reason"]) == (401, "TOKEN_MISSING")
