"""API keys: made once, good for what they grant, and gone from everywhere soon after they end."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from mesh.database import Database
from mesh.host import Host, find_services, hosted
from mesh.settings import Settings
from services.auth import api_keys as module
from tests.integration.mesh.edges import edge_before

_DEADLINE_S = 10.0


@pytest_asyncio.fixture(scope="module")
async def host(migrated: Settings) -> AsyncIterator[Host]:
    """Auth and user in one process."""
    async with hosted(find_services(["auth", "user"]), migrated) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def rest(host: Host) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}") as client:
        yield client


@pytest_asyncio.fixture
async def ann(rest: httpx.AsyncClient) -> dict[str, str]:
    """Headers of somebody who has just registered."""
    body = {"email": f"ann-{uuid4().hex}@example.com", "password": "correct horse battery"}
    return _as((await rest.post("/v1/auth/register", json=body)).json()["access_token"])


def _as(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def _make(rest: httpx.AsyncClient, who: dict[str, str], **fields: Any) -> dict[str, Any]:
    answer = await rest.post("/v1/api_keys", json={"name": "ci"} | fields, headers=who)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _me(client: httpx.AsyncClient, secret: str) -> tuple[int, str]:
    answer = await client.get("/v1/users/me", headers=_as(secret))
    return answer.status_code, "" if answer.is_success else answer.json()["details"][0]["reason"]


async def _until(client: httpx.AsyncClient, secret: str, wanted: tuple[int, str]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while await _me(client, secret) != wanted:
        assert time.monotonic() < deadline, await _me(client, secret)
        await asyncio.sleep(0.02)


async def test_a_key_works_like_a_token_within_its_scopes(rest: httpx.AsyncClient, ann: dict[str, str]) -> None:
    made = await _make(rest, ann, scopes=["users:read"])
    assert made["secret"].startswith(made["api_key"]["prefix"] + "_")
    assert len(made["secret"]) == 4 + 8 + 1 + 43
    assert await _me(rest, made["secret"]) == (200, "")
    refused = await rest.patch("/v1/users/me", json={"timezone": "UTC"}, headers=_as(made["secret"]))
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (403, "SCOPE_MISSING")


async def test_the_secret_is_shown_once_and_kept_nowhere(rest: httpx.AsyncClient, ann: dict[str, str], database: Database) -> None:
    made = await _make(rest, ann)
    key_id, secret = made["api_key"]["id"], made["secret"].rpartition("_")[2]
    for path in ("/v1/api_keys", f"/v1/api_keys/{key_id}"):
        assert secret not in (await rest.get(path, headers=ann)).text
    row = await database.pool.fetchrow("SELECT * FROM api_key WHERE id = $1", UUID(key_id))
    assert secret not in str(row)


async def test_the_last_use_is_noted(rest: httpx.AsyncClient, ann: dict[str, str]) -> None:
    made = await _make(rest, ann)
    path = f"/v1/api_keys/{made['api_key']['id']}"
    assert not (await rest.get(path, headers=ann)).json().get("last_use_time")
    await _me(rest, made["secret"])
    assert (await rest.get(path, headers=ann)).json()["last_use_time"]


async def test_a_key_does_not_make_keys_nor_gets_what_its_maker_lacks(rest: httpx.AsyncClient, ann: dict[str, str]) -> None:
    made = await _make(rest, ann)
    assert "accounts:write" not in made["api_key"]["scopes"]
    assert (await rest.post("/v1/api_keys", json={"name": "x"}, headers=_as(made["secret"]))).status_code == 403
    for scopes in (["accounts:write"], ["admin:keys"], ["nothing:ever"]):
        answer = await rest.post("/v1/api_keys", json={"name": "x", "scopes": scopes}, headers=ann)
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (400, "SCOPE_NOT_GRANTED")


async def test_made_up_and_changed_keys_are_refused(rest: httpx.AsyncClient, ann: dict[str, str]) -> None:
    secret = (await _make(rest, ann))["secret"]
    for wrong in (secret[:-1] + ("A" if secret[-1] != "A" else "B"), "trd_", "trd_abc", "trd_aaaaaaaa_" + "x" * 43, secret + "x"):
        assert await _me(rest, wrong) == (401, "API_KEY_INVALID")
    assert (await _me(rest, "trd_" + "x" * 200))[0] == 401


async def test_the_end_of_a_key_reaches_other_processes_at_once(
    rest: httpx.AsyncClient, ann: dict[str, str], migrated: Settings, host: Host
) -> None:
    settings = migrated.model_copy(update={"service_targets": f"auth={host.grpc_address}"})
    async with hosted(find_services(["user"]), settings) as other, httpx.AsyncClient(base_url=f"http://{other.http_address}") as far:
        made = await _make(rest, ann)
        path = f"/v1/api_keys/{made['api_key']['id']}"
        await _until(far, made["secret"], (200, ""))
        await rest.post(f"{path}:suspend", json={}, headers=ann)
        await _until(far, made["secret"], (401, "API_KEY_SUSPENDED"))
        await rest.post(f"{path}:suspend", json={"resume": True}, headers=ann)
        await _until(far, made["secret"], (200, ""))
        assert (await rest.delete(path, headers=ann)).status_code == 200
        await _until(far, made["secret"], (401, "API_KEY_INVALID"))
        assert (await rest.get(path, headers=ann)).status_code == 404


async def test_a_key_expires(rest: httpx.AsyncClient, ann: dict[str, str]) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    answer = await rest.post("/v1/api_keys", json={"name": "x", "expire_time": past}, headers=ann)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (400, "EXPIRE_TIME_PAST")
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    made = await _make(rest, ann, expire_time=soon)
    assert await _me(rest, made["secret"]) == (200, "")
    await _until(rest, made["secret"], (401, "API_KEY_EXPIRED"))


async def test_keys_are_listed_by_page_newest_first_and_have_a_limit(
    rest: httpx.AsyncClient, ann: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 3)
    made = [(await _make(rest, ann, name=f"k{n}"))["api_key"]["id"] for n in range(3)]
    first = (await rest.get("/v1/api_keys?page_size=2", headers=ann)).json()
    second = (await rest.get(f"/v1/api_keys?page_size=2&page_token={first['next_page_token']}", headers=ann)).json()
    assert [key["id"] for key in first["api_keys"] + second["api_keys"]] == made[::-1]
    assert not second["next_page_token"]
    refused = await rest.post("/v1/api_keys", json={"name": "x"}, headers=ann)
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (429, "API_KEY_LIMIT")


async def test_a_key_passes_the_edge_and_is_checked_behind_it(host: Host, rest: httpx.AsyncClient, ann: dict[str, str]) -> None:
    made = await _make(rest, ann)
    async with edge_before(host) as edge, httpx.AsyncClient(base_url=f"http://{edge}") as client:
        assert await _me(client, made["secret"]) == (200, "")
        assert await _me(client, made["secret"][:-3] + "abc") == (401, "API_KEY_INVALID")
        assert await _me(client, "no-key") == (401, "TOKEN_INVALID")
