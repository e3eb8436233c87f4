"""Sessions: seen, ended one by one or all at once, and what else ends them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from mesh.host import find_services, hosted
from mesh.settings import Settings

_PASSWORD = "correct horse battery"
_NEW = "staple battery horse"
_BOSS = "boss-of-sessions@example.com"
_DEADLINE_S = 10.0


@pytest_asyncio.fixture(scope="module")
async def rest(migrated: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process with auth, user and the gateway."""
    settings = migrated.model_copy(update={"owner_email": _BOSS})
    async with (
        hosted(find_services(["auth", "user", "gateway"]), settings) as host,
        httpx.AsyncClient(base_url=f"http://{host.http_address}") as client,
    ):
        yield client


class Device:
    """Somebody signed in on one device."""

    def __init__(self, rest: httpx.AsyncClient, session: dict[str, Any]) -> None:
        self._rest = rest
        self.session = session
        self.email = session["user"]["email"]
        self.headers = {"authorization": f"Bearer {session['access_token']}"}

    async def call(self, verb: str, path: str, body: Any = None) -> httpx.Response:
        """A call with its access token."""
        return await self._rest.request(verb, path, json=body, headers=self.headers)

    async def is_out(self) -> bool:
        """Whether neither of its tokens is good."""
        seen = await self.call("GET", "/v1/users/me")
        fresh = await self._rest.post("/v1/auth/refresh", json={"refresh_token": self.session["refresh_token"]})
        if fresh.is_success:
            self.session = fresh.json()
        return seen.status_code == fresh.status_code == 401

    async def wait_until_out(self) -> None:
        """Fails when it stays signed in."""
        deadline = time.monotonic() + _DEADLINE_S
        while not await self.is_out():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def _sign_in(rest: httpx.AsyncClient, email: str, agent: str, password: str = _PASSWORD) -> Device:
    headers = {"user-agent": agent, "x-forwarded-for": "6.6.6.6, 192.0.2.7"}
    answer = await rest.post("/v1/auth/login", json={"email": email, "password": password}, headers=headers)
    assert answer.status_code == 200, answer.text
    return Device(rest, answer.json())


@pytest_asyncio.fixture
async def phone(rest: httpx.AsyncClient) -> Device:
    """The device on which somebody has just registered."""
    body = {"email": f"ann-{uuid4().hex}@example.com", "password": _PASSWORD}
    return Device(rest, (await rest.post("/v1/auth/register", json=body)).json())


async def test_each_device_is_listed_with_what_it_said_of_itself(rest: httpx.AsyncClient, phone: Device) -> None:
    laptop = await _sign_in(rest, phone.email, "Laptop/1")
    listed = (await laptop.call("GET", "/v1/auth/sessions")).json()["sessions"]
    assert [session["is_current"] for session in listed] == [True, False]
    assert (listed[0]["user_agent"], listed[0]["source_address"]) == ("Laptop/1", "192.0.2.7")
    first = (await laptop.call("GET", "/v1/auth/sessions?page_size=1")).json()
    second = (await laptop.call("GET", f"/v1/auth/sessions?page_size=1&page_token={first['next_page_token']}")).json()
    assert [session["id"] for session in first["sessions"] + second["sessions"]] == [session["id"] for session in listed]


async def test_one_device_is_signed_out_and_the_other_stays(rest: httpx.AsyncClient, phone: Device) -> None:
    laptop = await _sign_in(rest, phone.email, "Laptop/1")
    mine = (await phone.call("GET", "/v1/auth/sessions")).json()["sessions"]
    theirs = next(session["id"] for session in mine if not session["is_current"])
    assert (await phone.call("DELETE", f"/v1/auth/sessions/{theirs}")).status_code == 200
    await laptop.wait_until_out()
    assert not await phone.is_out()
    again = await phone.call("DELETE", f"/v1/auth/sessions/{theirs}")
    assert (again.status_code, again.json()["details"][0]["reason"]) == (404, "SESSION_NOT_FOUND")


@pytest.mark.parametrize("is_kept", [False, True])
async def test_all_devices_are_signed_out_at_once(rest: httpx.AsyncClient, phone: Device, is_kept: bool) -> None:
    others = [await _sign_in(rest, phone.email, f"Other/{n}") for n in range(2)]
    answer = await phone.call("POST", "/v1/auth/sessions:end_all", {"keep_current": is_kept})
    assert answer.json()["ended"] == (2 if is_kept else 3)
    for other in others:
        await other.wait_until_out()
    if is_kept:
        assert not await phone.is_out()
    else:
        await phone.wait_until_out()


async def test_a_socket_ends_with_the_session_or_the_key_that_opened_it(rest: httpx.AsyncClient, phone: Device) -> None:
    key = (await phone.call("POST", "/v1/api_keys", {"name": "ci"})).json()
    laptop = await _sign_in(rest, phone.email, "Laptop/1")
    url = f"ws://{rest.base_url.host}:{rest.base_url.port}/v1/ws"
    by_key = {"authorization": f"Bearer {key['secret']}"}
    async with connect(url, additional_headers=laptop.headers) as first, connect(url, additional_headers=by_key) as second:
        for socket in (first, second):
            await socket.send('{"id": "1", "method": "ping"}')
            assert "pong" in str(await socket.recv())
        await phone.call("POST", "/v1/auth/sessions:end_all", {"keep_current": True})
        await phone.call("DELETE", f"/v1/api_keys/{key['api_key']['id']}")
        async with asyncio.timeout(_DEADLINE_S):
            await asyncio.gather(first.wait_closed(), second.wait_closed())
        assert (first.close_code, second.close_code) == (4001, 4001)


async def test_a_new_password_signs_all_other_devices_out(rest: httpx.AsyncClient, phone: Device) -> None:
    laptop = await _sign_in(rest, phone.email, "Laptop/1")
    wrong = await phone.call("POST", "/v1/auth/password:change", {"current_password": "wrong", "new_password": _NEW})
    assert (wrong.status_code, wrong.json()["details"][0]["reason"]) == (401, "INVALID_CREDENTIALS")
    right = await phone.call("POST", "/v1/auth/password:change", {"current_password": _PASSWORD, "new_password": _NEW})
    assert right.status_code == 200, right.text
    await laptop.wait_until_out()
    assert not await phone.is_out()
    old = await rest.post("/v1/auth/login", json={"email": phone.email, "password": _PASSWORD})
    assert old.status_code == 401
    await _sign_in(rest, phone.email, "Laptop/1", _NEW)


async def test_a_stolen_refresh_token_ends_the_access_tokens_too(rest: httpx.AsyncClient, phone: Device) -> None:
    stolen = phone.session["refresh_token"]
    await rest.post("/v1/auth/refresh", json={"refresh_token": stolen})
    await rest.post("/v1/auth/refresh", json={"refresh_token": stolen})
    await phone.wait_until_out()


async def test_roles_are_given_by_administrators_and_count_from_the_next_sign_in(rest: httpx.AsyncClient, phone: Device) -> None:
    body = {"email": _BOSS, "password": _PASSWORD}
    registered = await rest.post("/v1/auth/register", json=body)
    boss = Device(rest, (registered if registered.is_success else await rest.post("/v1/auth/login", json=body)).json())
    given = {"email": phone.email.upper(), "roles": ["reviewer"]}
    assert (await phone.call("POST", "/v1/auth/accounts:set_roles", given)).status_code == 403
    answer = await boss.call("POST", "/v1/auth/accounts:set_roles", given)
    assert answer.json() == {"user_id": phone.session["user"]["id"], "roles": ["reviewer", "user"]}
    await phone.wait_until_out()
    for wrong, reason in (({"roles": ["king"]}, "ROLE_UNKNOWN"), ({"email": "nobody@example.com"}, "ACCOUNT_NOT_FOUND")):
        refused = await boss.call("POST", "/v1/auth/accounts:set_roles", given | wrong)
        assert refused.json()["details"][0]["reason"] == reason
