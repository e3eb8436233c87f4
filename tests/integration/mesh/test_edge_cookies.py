"""Signing in from a page: the refresh token is a cookie that no script and no other page can use; the real service behind a real edge."""

from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio

from mesh.edge.policy import EdgePolicy, Tls
from mesh.host import Host, find_services, hosted
from mesh.local.ports import free_port
from mesh.settings import Settings
from tests.integration.mesh.certificates import Authority
from tests.integration.mesh.edges import edge_before

_NAME = "treadle_refresh"
_ASKED = {"x-use-cookie": "true"}
_LISTED = "https://app.example"


@pytest_asyncio.fixture(scope="module")
async def host(migrated: Settings) -> AsyncIterator[Host]:
    """A process that signs people in."""
    async with hosted(find_services(["auth", "user"]), migrated) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def edge(host: Host) -> AsyncIterator[str]:
    """The URL of an edge before it that knows one origin."""
    async with edge_before(host, policy=EdgePolicy(origins=(_LISTED,))) as address:
        yield f"http://{address}"


@pytest_asyncio.fixture
async def page(edge: str) -> AsyncIterator[httpx.AsyncClient]:
    """A page of the edge's own origin, in a browser that keeps cookies."""
    async with httpx.AsyncClient(base_url=edge, headers={"origin": edge, **_ASKED}) as client:
        yield client


async def _register(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    body = {"email": f"ann-{uuid4().hex}@example.com", "password": "correct horse battery"}
    answer = await client.post("/v1/auth/register", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def _cookie(answer: httpx.Response) -> "Morsel[str]":
    return SimpleCookie(answer.headers["set-cookie"])[_NAME]


def _reason(answer: httpx.Response) -> tuple[int, str]:
    details: dict[str, Any] = answer.json()["details"][0]
    return answer.status_code, details["reason"]


async def test_the_token_is_in_no_body_and_the_cookie_for_no_script(page: httpx.AsyncClient) -> None:
    answer = await _register(page)
    assert answer.json()["access_token"]
    assert answer.json()["refresh_token"] == ""
    cookie = _cookie(answer)
    assert len(cookie.value) > 20
    assert (cookie["path"], cookie["httponly"], cookie["samesite"], cookie["secure"]) == ("/v1/auth", True, "Strict", "")
    assert int(cookie["max-age"]) > 86400
    assert cookie.value not in answer.text


async def test_a_page_lives_on_its_cookie_until_it_signs_out(page: httpx.AsyncClient) -> None:
    first = _cookie(await _register(page)).value
    fresh = await page.post("/v1/auth/refresh", json={})
    assert (fresh.status_code, fresh.json()["refresh_token"]) == (200, "")
    assert _cookie(fresh).value not in {"", first}
    me = await page.get("/v1/users/me", headers={"authorization": f"Bearer {fresh.json()['access_token']}"})
    assert me.status_code == 200
    out = await page.post("/v1/auth/logout", json={})
    assert (out.status_code, _cookie(out).value, _cookie(out)["max-age"]) == (200, "", "0")
    assert _NAME not in page.cookies
    again = await page.post("/v1/auth/refresh", json={}, headers={"cookie": f"{_NAME}={_cookie(fresh).value}"})
    assert _reason(again) == (401, "REFRESH_TOKEN_INVALID")
    assert _cookie(again)["max-age"] == "0"


async def test_no_other_page_can_use_it_nor_one_that_does_not_say_where_it_is_from(page: httpx.AsyncClient, edge: str) -> None:
    token = _cookie(await _register(page)).value
    async with httpx.AsyncClient(base_url=edge, headers={"cookie": f"{_NAME}={token}", **_ASKED}) as other:
        for path in ("/v1/auth/refresh", "/v1/auth/logout"):
            for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {}):
                assert _reason(await other.post(path, json={}, headers=headers)) == (403, "FORBIDDEN")
    assert (await page.post("/v1/auth/refresh", json={})).status_code == 200


async def test_a_cookie_alone_is_nothing(page: httpx.AsyncClient) -> None:
    await _register(page)
    forged = await page.post("/v1/auth/refresh", json={}, headers={"x-use-cookie": ""})
    assert (forged.status_code, "set-cookie" in forged.headers) == (400, False)
    form = await page.post("/v1/auth/refresh", content="x=1", headers={"content-type": "application/x-www-form-urlencoded"})
    assert form.status_code == 415
    assert (await page.post("/v1/auth/refresh", json={})).status_code == 200


async def test_a_listed_page_may_ask_for_it_and_others_may_not(edge: str) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-use-cookie"}
    async with httpx.AsyncClient(base_url=edge) as client:
        welcome = await client.options("/v1/auth/refresh", headers={"origin": _LISTED, **asked})
        evil = await client.options("/v1/auth/refresh", headers={"origin": "https://evil.example", **asked})
    assert "x-use-cookie" in welcome.headers["access-control-allow-headers"]
    assert welcome.headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in evil.headers


async def test_programs_get_the_token_in_the_body_and_no_cookie(edge: str) -> None:
    async with httpx.AsyncClient(base_url=edge) as client:
        made = await _register(client)
        assert "set-cookie" not in made.headers
        fresh = await client.post("/v1/auth/refresh", json={"refresh_token": made.json()["refresh_token"]})
    assert (fresh.status_code, bool(fresh.json()["refresh_token"]), "set-cookie" in fresh.headers) == (200, True, False)


async def test_over_tls_the_cookie_never_travels_without(host: Host, tmp_path: Path) -> None:
    authority, port = Authority(), free_port()
    authority.issue(tmp_path)
    policy = EdgePolicy(tls=Tls(f"127.0.0.1:{port}", tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "secrets.json"))
    async with (
        edge_before(host, policy=policy),
        httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=authority.trust()) as client,
    ):
        answer = await _register(client, origin=f"https://localhost:{port}", **_ASKED)
        fresh = await client.post("/v1/auth/refresh", json={}, headers={"origin": f"https://localhost:{port}", **_ASKED})
    assert _cookie(answer)["secure"]
    assert fresh.status_code == 200, fresh.text
