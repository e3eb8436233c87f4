"""Signing in by a real OpenID Connect provider in a process of its own."""

import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from mesh.errors import UnauthenticatedError
from mesh.host import find_services, hosted
from mesh.local.ports import free_port
from mesh.settings import Settings
from services.auth.oidc_login import Login
from services.auth.oidc_provider import Provider, ProviderSettings
from tests.integration.auth.browser import Browser

_PASSWORD = "correct horse battery"
_DEADLINE_S = 30.0


@pytest_asyncio.fixture(scope="module")
async def issuer() -> AsyncIterator[str]:
    """The URL of a provider that takes anybody's word for who they are."""
    port = free_port()
    options = ("--port", str(port), "--require-nonce", "true")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", *options),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://localhost:{port}"
    try:
        deadline = time.monotonic() + _DEADLINE_S
        async with httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    found = await client.get(f"{url}/.well-known/openid-configuration")
                    break
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        yield found.json()["issuer"]
    finally:
        process.terminate()
        await process.wait()


@pytest_asyncio.fixture(scope="module")
async def rest(migrated: Settings, issuer: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process with auth and user, which knows two providers: the real one and one that is away."""
    known = {"issuer": issuer, "client_id": "treadle", "client_secret": "s3cret"}
    providers = {"local": known, "away": known | {"issuer": "http://127.0.0.1:1"}}
    changes = {"oidc_providers": SecretStr(json.dumps(providers)), "public_url": "https://treadle.test"}
    async with (
        hosted(find_services(["auth", "user"]), migrated.model_copy(update=changes)) as host,
        httpx.AsyncClient(base_url=f"http://{host.http_address}", timeout=20) as client,
    ):
        yield client


@pytest_asyncio.fixture
async def browser(issuer: str) -> AsyncIterator[Browser]:
    """Somebody with an account at the provider, and a browser."""
    async with httpx.AsyncClient() as client:
        yield await Browser.of_new_person(client, issuer)


async def _start(rest: httpx.AsyncClient) -> dict[str, Any]:
    answer = await rest.post("/v1/auth/oidc/local:start", json={})
    assert answer.status_code == 200, answer.text
    started: dict[str, Any] = answer.json()
    return started


async def _log_in(rest: httpx.AsyncClient, browser: Browser) -> httpx.Response:
    started = await _start(rest)
    back = await browser.go(started["authorization_url"])
    return await rest.post("/v1/auth/oidc/local:finish", json={"login_token": started["login_token"], **back})


def _reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["details"][0]["reason"]


async def test_the_providers_are_listed(rest: httpx.AsyncClient) -> None:
    assert (await rest.get("/v1/auth/oidc/providers")).json() == {"providers": ["away", "local"]}


async def test_the_first_login_makes_an_account_and_the_next_finds_it(rest: httpx.AsyncClient, browser: Browser) -> None:
    first, second = (await _log_in(rest, browser)).json(), (await _log_in(rest, browser)).json()
    assert (first["is_new"], second["is_new"]) == (True, False)
    assert first["user_id"] == second["user_id"]
    assert first["email"] == browser.email
    me = await rest.get("/v1/users/me", headers={"authorization": f"Bearer {first['access_token']}"})
    assert me.json()["email"] == browser.email
    # There is no password by which anybody could sign in.
    assert (await rest.post("/v1/auth/login", json={"email": browser.email, "password": _PASSWORD})).status_code == 401


async def test_the_way_there_has_pkce_state_and_nonce_each_time_new(rest: httpx.AsyncClient) -> None:
    urls = [urlsplit((await _start(rest))["authorization_url"]) for _ in range(2)]
    asked = [{name: values[0] for name, values in parse_qs(url.query).items()} for url in urls]
    for name in ("state", "nonce", "code_challenge"):
        assert len({parameters[name] for parameters in asked}) == 2
        assert all(len(parameters[name]) == 43 for parameters in asked)
    assert asked[0]["code_challenge_method"] == "S256"
    assert asked[0]["redirect_uri"] == "https://treadle.test/account/oidc/local"


async def test_a_trap_set_with_the_address_of_another_closes_on_nobody(rest: httpx.AsyncClient, browser: Browser) -> None:
    body = {"email": browser.email, "password": _PASSWORD}
    thief = (await rest.post("/v1/auth/register", json=body)).json()
    headers = {"authorization": f"Bearer {thief['access_token']}"}
    key = (await rest.post("/v1/api_keys", json={"name": "x"}, headers=headers)).json()["secret"]
    found = (await _log_in(rest, browser)).json()
    assert (found["user_id"], found["is_new"]) == (thief["user"]["id"], False)
    assert (await rest.post("/v1/auth/login", json=body)).status_code == 401
    assert (await rest.post("/v1/auth/refresh", json={"refresh_token": thief["refresh_token"]})).status_code == 401
    assert (await rest.get("/v1/users/me", headers={"authorization": f"Bearer {key}"})).status_code == 401


async def test_only_who_started_a_login_finishes_it_and_only_once(rest: httpx.AsyncClient, browser: Browser) -> None:
    mine, theirs = await _start(rest), await _start(rest)
    back = await browser.go(mine["authorization_url"])
    for token, changes in (
        (theirs["login_token"], {}),
        (mine["login_token"], {"state": "made-up"}),
        (mine["login_token"], {"code": "made-up"}),
        ("made-up", {}),
        (mine["login_token"][:-4] + "AAAA", {}),
    ):
        answer = await rest.post("/v1/auth/oidc/local:finish", json={"login_token": token, **back, **changes})
        assert _reason(answer) == (401, "OIDC_LOGIN_INVALID")
    body = {"login_token": mine["login_token"], **back}
    assert (await rest.post("/v1/auth/oidc/local:finish", json=body)).status_code == 200
    assert _reason(await rest.post("/v1/auth/oidc/local:finish", json=body)) == (401, "OIDC_LOGIN_INVALID")


async def test_the_trade_of_a_code_shows_the_verifier_of_its_challenge(issuer: str, browser: Browser) -> None:
    sent: list[dict[str, list[str]]] = []

    async def record(request: httpx.Request) -> None:
        if request.method == "POST":
            sent.append(parse_qs(request.content.decode()))

    async with httpx.AsyncClient(event_hooks={"request": [record]}) as client:
        configured = ProviderSettings(issuer=issuer, client_id="treadle", client_secret=SecretStr("s3cret"))
        provider = Provider(configured, "https://treadle.test/account/oidc/local", client)
        login = Login.begin("local")
        url = await provider.authorization_url(login)
        person = await provider.person((await browser.go(url))["code"], login)
        assert (person.subject, person.email, person.is_email_verified) == (browser.subject, browser.email, True)
        challenge = parse_qs(urlsplit(url).query)["code_challenge"][0]
        digest = hashlib.sha256(sent[0]["code_verifier"][0].encode()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge
        # An answer to another question than ours: its nonce differs.
        other = Login.begin("local")
        back = await browser.go(await provider.authorization_url(other))
        with pytest.raises(UnauthenticatedError):
            await provider.person(back["code"], login)


async def test_an_address_that_nobody_vouches_for_opens_no_account(rest: httpx.AsyncClient, issuer: str) -> None:
    async with httpx.AsyncClient() as client:
        for claims in ({"email": f"{uuid4().hex}@example.com", "email_verified": False}, {}):
            answer = await _log_in(rest, await Browser.of_new_person(client, issuer, claims))
            assert _reason(answer) == (400, "OIDC_EMAIL_UNVERIFIED")


async def test_two_first_logins_at_the_same_moment_make_one_account(rest: httpx.AsyncClient, browser: Browser) -> None:
    answers = await asyncio.gather(*(_log_in(rest, browser) for _ in range(3)))
    assert len({answer.json()["user_id"] for answer in answers}) == 1


async def test_unknown_providers_and_those_that_are_away(rest: httpx.AsyncClient) -> None:
    assert _reason(await rest.post("/v1/auth/oidc/nobody:start", json={})) == (404, "OIDC_PROVIDER_NOT_FOUND")
    away = await rest.post("/v1/auth/oidc/away:start", json={})
    assert _reason(away) == (503, "OIDC_PROVIDER_AWAY")
    assert away.headers["retry-after"]
