"""Export, deletion and consents, across all services on real servers."""

import asyncio
import io
import json
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest_asyncio

from mesh.database import open_database
from mesh.host import Host, find_services, hosted
from mesh.settings import Settings

_DEADLINE_S = 20.0
_STORE_VALUE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
_SERVICES = ["auth", "user", "graph", "block", "execution", "audit"]


@pytest_asyncio.fixture(scope="module")
async def host(migrated: Settings) -> AsyncIterator[Host]:
    """A process with all services, but no worker."""
    async with hosted(find_services(_SERVICES), migrated) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def rest(host: Host) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}") as client:
        yield client


@pytest_asyncio.fixture
async def ann(rest: httpx.AsyncClient) -> dict[str, Any]:
    """Somebody with something in every service."""
    return await _somebody(rest)


async def _somebody(rest: httpx.AsyncClient) -> dict[str, Any]:
    body = {"email": f"ann-{uuid4().hex}@example.com", "password": "correct horse battery", "display_name": "Ann"}
    session: dict[str, Any] = (await rest.post("/v1/auth/register", json=body)).json()
    headers = _headers(session)
    await rest.get("/v1/users/me", headers=headers)
    await rest.post("/v1/users/me/consents", json={"document": "terms", "version": "1", "is_granted": True}, headers=headers)
    key = await rest.post("/v1/api_keys", json={"name": "x"}, headers=headers)
    document = {"name": "store", "nodes": [{"id": "n", "block_id": _STORE_VALUE, "input_default": {"input": 1}}]}
    graph = await rest.post("/v1/graphs", json=document, headers=headers)
    assert graph.is_success, graph.text
    execution = await rest.post("/v1/executions", json={"graph_id": graph.json()["id"]}, headers=headers)
    assert execution.is_success, execution.text
    draft = await rest.post("/v1/drafts", json=document, headers=headers)
    assert draft.is_success, draft.text
    run = await rest.post("/v1/executions", json={"graph_id": draft.json()["graph_id"], "draft": True}, headers=headers)
    assert run.is_success, run.text
    session |= {"graph": graph.json(), "execution": execution.json(), "draft": draft.json(), "run": run.json()}
    session["api_key"] = key.json()["secret"]
    return session


def _headers(session: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {session['access_token']}"}


def _traces(person: dict[str, Any]) -> list[str]:
    """Texts by which anything of somebody's is known."""
    made = [person["graph"]["id"], person["draft"]["graph_id"], person["execution"]["id"], person["run"]["id"]]
    return [person["user"]["id"], person["user"]["email"], *made]


async def _tables_with(postgres_url: str, texts: list[str]) -> set[str]:
    """All tables of all services that have one of the texts in some row."""
    connection = await asyncpg.connect(postgres_url)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        query = "SELECT EXISTS (SELECT FROM {} t, unnest($1::text[]) x WHERE position(x IN t::text) > 0)"
        return {str(table) for (table,) in tables if await connection.fetchval(query.format(table), texts)}
    finally:
        await connection.close()


async def test_nothing_of_a_deleted_account_is_left_in_any_table_and_all_of_others(
    rest: httpx.AsyncClient, ann: dict[str, Any], postgres_url: str
) -> None:
    bob = await _somebody(rest)
    before = await _tables_with(postgres_url, _traces(ann))
    assert {"auth.account", "graph.graph_version", "graph.draft", "execution.execution_event", '"user".consent'} <= before
    others = await _tables_with(postgres_url, _traces(bob))
    assert (await rest.post("/v1/users/me:delete", json={"email": ann["user"]["email"]}, headers=_headers(ann))).status_code == 200
    deadline = time.monotonic() + _DEADLINE_S
    # That it was asked for, and who answered; the log of who did what.
    while (left := await _tables_with(postgres_url, _traces(ann))) - {'"user".deletion', '"user".deletion_answer', "audit.record"}:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.1)
    assert await _tables_with(postgres_url, _traces(bob)) >= others - {"auth.outbox", '"user".outbox'}


async def test_the_archive_holds_nothing_of_others(rest: httpx.AsyncClient, ann: dict[str, Any]) -> None:
    bob = await _somebody(rest)
    answer = await rest.post("/v1/users/me:export", json={}, headers=_headers(ann))
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    whole = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert [text in whole for text in _traces(ann)] == [True] * 6
    assert [text in whole for text in _traces(bob)] == [False] * 6
    secrets = [ann["access_token"], ann["refresh_token"], ann["api_key"]]
    assert [text in whole for text in secrets] == [False] * 3


async def test_the_archive_holds_what_every_service_knows(rest: httpx.AsyncClient, ann: dict[str, Any]) -> None:
    answer = await rest.post("/v1/users/me:export", json={}, headers=_headers(ann))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    lines = {name: [json.loads(line) for line in archive.read(name).splitlines()] for name in archive.namelist()}
    assert lines["auth/account.ndjson"][0]["email"] == ann["user"]["email"]
    assert lines["user/profile.ndjson"][0]["display_name"] == "Ann"
    assert [line["document"] for line in lines["user/consent.ndjson"]] == ["terms"]
    assert [line["graph_id"] for line in lines["graph/graphs.ndjson"]] == [ann["graph"]["id"]], ann["graph"]
    assert [line["graph_id"] for line in lines["graph/drafts.ndjson"]] == [ann["draft"]["graph_id"]]
    assert [line["id"] for line in lines["execution/executions.ndjson"]] == [ann["run"]["id"], ann["execution"]["id"]]
    assert [line["seq"] for line in lines[f"execution/events/{ann['execution']['id']}.ndjson"]] == [1]
    assert len(lines["auth/api_keys.ndjson"]) == len(lines["auth/sessions.ndjson"]) == 1
    whole = b"".join(archive.read(name) for name in archive.namelist())
    assert b"password_hash" not in whole
    assert b"digest" not in whole


async def test_nobody_deletes_an_account_by_accident(rest: httpx.AsyncClient, ann: dict[str, Any]) -> None:
    answer = await rest.post("/v1/users/me:delete", json={"email": "other@example.com"}, headers=_headers(ann))
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (400, "EMAIL_DIFFERS")


async def test_a_deleted_account_is_gone_from_every_service(rest: httpx.AsyncClient, ann: dict[str, Any], migrated: Settings) -> None:
    made = await rest.post("/v1/users/me:delete", json={"email": ann["user"]["email"]}, headers=_headers(ann))
    assert made.status_code == 200, made.text
    expected = {"auth", "user", "graph", "execution", "audit"}
    assert set(made.json()["waiting_for"]) | set(made.json().get("erased_by", [])) == expected
    user_id = ann["user"]["id"]
    user, graph, execution = [await open_database(migrated, schema) for schema in ("user", "graph", "execution")]
    deadline = time.monotonic() + _DEADLINE_S
    while set(await user.pool.fetchval("SELECT array(SELECT service FROM deletion_answer WHERE user_id = $1)", user_id)) != expected:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert await user.pool.fetchval("SELECT count(*) FROM profile WHERE id = $1", user_id) == 0
    assert await user.pool.fetchval("SELECT count(*) FROM consent WHERE user_id = $1", user_id) == 0
    assert await graph.pool.fetchval("SELECT count(*) FROM graph WHERE owner_id = $1", user_id) == 0
    assert await execution.pool.fetchval("SELECT count(*) FROM execution WHERE owner_id = $1", user_id) == 0
    assert await execution.pool.fetchval("SELECT count(*) FROM graph_snapshot WHERE owner_id = $1", user_id) == 0
    execution_id = ann["execution"]["id"]
    assert await execution.pool.fetchval("SELECT count(*) FROM execution_event WHERE execution_id = $1", execution_id) == 0
    body = {"email": ann["user"]["email"], "password": "correct horse battery"}
    assert (await rest.post("/v1/auth/login", json=body)).status_code == 401
    assert (await rest.post("/v1/auth/refresh", json={"refresh_token": ann["refresh_token"]})).status_code == 401
    assert (await rest.get("/v1/users/me", headers=_headers(ann))).status_code in {401, 404}
    await user.close()
    await graph.close()
    await execution.close()


async def test_consents_are_kept_in_order_and_a_repeat_is_no_news(rest: httpx.AsyncClient, ann: dict[str, Any]) -> None:
    for granted in (True, False, False):
        body = {"document": "terms", "version": "1", "is_granted": granted}
        await rest.post("/v1/users/me/consents", json=body, headers=_headers(ann))
    found = (await rest.get("/v1/users/me/consents", headers=_headers(ann))).json()["consents"]
    assert [consent.get("is_granted", False) for consent in found] == [False, True]
