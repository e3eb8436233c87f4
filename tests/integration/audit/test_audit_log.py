"""The audit log on real servers: what is done at one door is found, exported and proved at another."""

import asyncio
import datetime as dt
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from treadle.audit.v1.audit_service_pb2 import VerifyAuditRecordsRequest

from mesh.audit import AuditRecord
from mesh.call import Call
from mesh.contract import methods
from mesh.database import Database, open_database
from mesh.host import find_services, hosted
from mesh.settings import Settings
from services.audit.ledger import Mark, Verification
from services.audit.repository import Filter, Repository
from services.audit.servicer import AuditServicer

_DEADLINE_S = 20.0
_OWNER = f"owner-{uuid4().hex}@example.com"
_ON_BEHALF = "x-treadle-on-behalf-of"


@pytest_asyncio.fixture(scope="module")
async def rest(migrated: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process with auth, user and audit."""
    settings = migrated.model_copy(update={"owner_email": _OWNER})
    async with (
        hosted(find_services(["auth", "user", "audit"]), settings) as host,
        httpx.AsyncClient(base_url=f"http://{host.http_address}", headers={"x-forwarded-for": "10.1.2.3"}) as client,
    ):
        yield client


@pytest_asyncio.fixture(scope="module")
async def database(migrated: Settings) -> AsyncIterator[Database]:
    """The database as the audit service sees it."""
    opened = await open_database(migrated, "audit")
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="module")
async def admin(rest: httpx.AsyncClient) -> dict[str, Any]:
    """An administrator."""
    return await _register(rest, _OWNER)


async def _register(rest: httpx.AsyncClient, email: str) -> dict[str, Any]:
    answer = await rest.post("/v1/auth/register", json={"email": email, "password": "correct horse battery"})
    session: dict[str, Any] = answer.json()
    return session


def _headers(session: dict[str, Any], **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {session['access_token']}", **more}


async def _records(rest: httpx.AsyncClient, admin: dict[str, Any], count: int, **query: str) -> list[dict[str, Any]]:
    """What the filter lets through, newest first, once there is so much of it."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        answer = await rest.get("/v1/audit/records", params=query, headers=_headers(admin))
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["records"]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def test_who_did_what_from_where_is_found(rest: httpx.AsyncClient, admin: dict[str, Any]) -> None:
    ann = await _register(rest, f"ann-{uuid4().hex}@example.com")
    made = await rest.post("/v1/api_keys", json={"name": "x"}, headers=_headers(ann))
    key_id = made.json()["api_key"]["id"]
    [record] = await _records(rest, admin, 1, actor_id=ann["user"]["id"], method="CreateApiKey")
    assert (record["code"], record["resources"], record["source_address"]) == ("OK", {"api_key_id": key_id}, "10.1.2.3")
    assert await _records(rest, admin, 1, resource_id=key_id) == [record]
    assert "example.com" not in record["body"]


async def test_only_who_may_audit_reads_the_log_and_the_try_is_in_it(rest: httpx.AsyncClient, admin: dict[str, Any]) -> None:
    bob = await _register(rest, f"bob-{uuid4().hex}@example.com")
    assert (await rest.get("/v1/audit/records", headers=_headers(bob))).status_code == 403
    [record] = await _records(rest, admin, 1, actor_id=bob["user"]["id"], code="PERMISSION_DENIED")
    assert (record["method"], record["reason"]) == ("ListAuditRecords", "SCOPE_MISSING")


async def test_what_an_administrator_does_for_a_user_is_recorded_before_and_after(rest: httpx.AsyncClient, admin: dict[str, Any]) -> None:
    ann = await _register(rest, f"ann-{uuid4().hex}@example.com")
    none_yet = await rest.get("/v1/users/me", headers=_headers(admin, **{_ON_BEHALF: ann["user"]["id"]}))
    assert (none_yet.status_code, none_yet.json()["details"][0]["reason"]) == (404, "PROFILE_NOT_FOUND")
    await rest.get("/v1/users/me", headers=_headers(ann))
    answer = await rest.get("/v1/users/me", headers=_headers(admin, **{_ON_BEHALF: ann["user"]["id"]}))
    assert answer.json()["id"] == ann["user"]["id"], answer.text
    records = await _records(rest, admin, 4, user_id=ann["user"]["id"], actor_id=admin["user"]["id"])
    assert sorted(record["code"] for record in records) == ["BEGUN", "BEGUN", "NOT_FOUND", "OK"]


async def test_a_wrong_password_and_what_a_link_or_a_token_did_are_found_by_whose_account_it_was(
    rest: httpx.AsyncClient, admin: dict[str, Any]
) -> None:
    email = f"ann-{uuid4().hex}@example.com"
    ann = await _register(rest, email)
    await rest.post("/v1/auth/login", json={"email": email, "password": "wrong"})
    await rest.post("/v1/auth/password:request_reset", json={"email": email})
    await rest.post("/v1/auth/logout", json={"refresh_token": ann["refresh_token"]})
    records = await _records(rest, admin, 4, resource_id=ann["user"]["id"])
    found = {record["method"]: record["code"] for record in records}
    assert found == {"Register": "OK", "Login": "UNAUTHENTICATED", "RequestPasswordReset": "OK", "Logout": "OK"}


async def test_which_roles_somebody_got_is_recorded(rest: httpx.AsyncClient, admin: dict[str, Any]) -> None:
    email = f"bob-{uuid4().hex}@example.com"
    bob = await _register(rest, email)
    set_roles = await rest.post("/v1/auth/accounts:set_roles", json={"email": email, "roles": ["creator"]}, headers=_headers(admin))
    assert set_roles.status_code == 200, set_roles.text
    [record] = await _records(rest, admin, 1, resource_id=bob["user"]["id"], method="SetRoles")
    assert record["resources"] == {"user_id": bob["user"]["id"], "roles": "creator user"}


async def test_acting_for_a_user_without_a_bus_is_refused(migrated: Settings, rest: httpx.AsyncClient, admin: dict[str, Any]) -> None:
    lonely = migrated.model_copy(update={"nats_url": "nats://127.0.0.1:1"})
    async with (
        hosted(find_services(["auth", "user"]), lonely) as host,
        httpx.AsyncClient(base_url=f"http://{host.http_address}") as client,
    ):
        answer = await client.get("/v1/users/me", headers=_headers(admin, **{_ON_BEHALF: str(uuid4())}))
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (503, "AUDIT_UNAVAILABLE")


async def test_what_was_done_just_before_a_process_ends_is_recorded(
    migrated: Settings, rest: httpx.AsyncClient, admin: dict[str, Any]
) -> None:
    async with (
        hosted(find_services(["auth", "user"]), migrated) as host,
        httpx.AsyncClient(base_url=f"http://{host.http_address}") as client,
    ):
        await host.resources.bus()
        ann = await _register(client, f"ann-{uuid4().hex}@example.com")
        await client.post("/v1/api_keys", json={"name": "x"}, headers=_headers(ann))
    await _records(rest, admin, 1, actor_id=ann["user"]["id"], method="CreateApiKey")


async def test_the_export_proves_itself(rest: httpx.AsyncClient, admin: dict[str, Any]) -> None:
    answer = await rest.get("/v1/audit/records:export", headers=_headers(admin))
    records = [json.loads(line) for line in answer.text.splitlines()]
    assert records
    before = "0" * 64
    for record in records:
        before = hashlib.sha256((before + record["body"]).encode()).hexdigest()
        assert record["hash"] == before
    rest_of_it = await rest.get(f"/v1/audit/records:export?after_seq={records[0]['seq']}", headers=_headers(admin))
    assert json.loads(rest_of_it.text.splitlines()[0])["seq"] == "2"


async def test_the_log_is_verified_and_pages_hold_it_all(rest: httpx.AsyncClient, admin: dict[str, Any]) -> None:
    verdict = (await rest.get("/v1/audit/records:verify", headers=_headers(admin))).json()
    assert verdict["is_intact"], verdict
    query = {"known_seq": verdict["head_seq"], "known_hash": "f" * 64}
    forged = (await rest.get("/v1/audit/records:verify", params=query, headers=_headers(admin))).json()
    assert (forged.get("is_intact", False), forged["broken_seq"]) == (False, verdict["head_seq"])
    seen: list[int] = []
    token = ""
    while True:
        page = (await rest.get("/v1/audit/records", params={"page_size": 3, "page_token": token}, headers=_headers(admin))).json()
        seen += [int(record["seq"]) for record in page["records"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert seen == list(range(seen[0], 0, -1))


def _line(method: str, time_us: int = 0) -> str:
    record = AuditRecord("a", "a", "", "edge", "s", method, {}, "OK", "", "", "r")
    return (AuditRecord("a", "a", "", "edge", "s", method, {}, "OK", "", "", "r", time_us=time_us) if time_us else record).line().decode()


async def test_a_batch_that_comes_twice_is_kept_once(database: Database) -> None:
    repository = Repository(database.pool)
    lines = [_line(uuid4().hex) for _ in range(3)]
    heads = await asyncio.gather(*(repository.append(lines) for _ in range(4)))
    assert len({head.seq for head in heads}) == 1
    assert len(await repository.find(Filter(method=json.loads(lines[0])["method"]), None, 10)) == 1


async def test_many_writers_make_one_chain(database: Database) -> None:
    repository = Repository(database.pool)
    await asyncio.gather(*(repository.append([_line("x")]) for _ in range(20)))
    cut, head = await repository.marks()
    verification = Verification(cut)
    async for page in repository.pages(cut.seq, head.seq):
        assert verification.take(page)
    assert verification.verdict(head).is_intact


@pytest.mark.parametrize("statement", ["UPDATE record SET hash = hash", "DELETE FROM record", "TRUNCATE record"])
async def test_records_cannot_be_changed_by_accident(database: Database, statement: str) -> None:
    await Repository(database.pool).append([_line("x")])
    with pytest.raises(asyncpg.RaiseError):
        await database.pool.execute(statement)


@pytest_asyncio.fixture
async def own_log(migrated: Settings, postgres_url: str) -> AsyncIterator[Repository]:
    """A log of its own, in a database of its own."""
    from mesh.migrate import migrate  # noqa: PLC0415 - tests without a database need not load it

    name = f"audit_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE DATABASE {name}")
    settings = migrated.model_copy(update={"database_url": SecretStr(postgres_url.rpartition("/")[0] + f"/{name}")})
    await migrate(settings, find_services(["audit"]))
    opened = await open_database(settings, "audit")
    yield Repository(opened.pool)
    await opened.close()
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def test_old_records_go_and_what_stays_is_still_proved(own_log: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    now_us = time.time_ns() // 1000
    old = [_line(f"old-{n}", 1_000_000 + n) for n in range(5)]
    await own_log.append([*old, _line("new", now_us), _line("newer", now_us + 1)])
    horizon = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    monkeypatch.setattr("services.audit.repository._FORGOTTEN_AT_ONCE", 3)

    def note(seq: int) -> str:
        return _line(f"forgot-{seq}")

    assert [await own_log.forget_before(horizon, note) for _ in range(3)] == [3, 5, 0]
    cut, head = await own_log.marks()
    assert (cut.seq, head.seq) == (5, 9)
    methods = [json.loads(entry.body)["method"] for entry in await own_log.find(Filter(), None, 10)]
    assert methods == ["forgot-5", "forgot-3", "newer", "new"]
    verification = Verification(cut)
    async for page in own_log.pages(0, head.seq):
        verification.take(page)
    assert verification.verdict(head).is_intact
    assert verification.verdict(Mark(10, "0" * 64)).broken_seq == 10


async def test_forgetting_while_the_log_is_verified_is_no_forgery(own_log: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    await own_log.append([*(_line(f"old-{n}", 1_000_000 + n) for n in range(5)), _line("new")])
    marks = own_log.marks

    async def forget_after() -> tuple[Mark, Mark]:
        found = await marks()
        await own_log.forget_before(dt.datetime.now(dt.UTC) - dt.timedelta(days=1), lambda seq: _line(f"forgot-{seq}"))
        return found

    monkeypatch.setattr(own_log, "marks", forget_after)
    call = Call(methods()["/treadle.audit.v1.AuditService/VerifyAuditRecords"], {}, 0.0)
    answer = await AuditServicer(own_log).verify_audit_records(VerifyAuditRecordsRequest(), call)
    assert (answer.is_intact, answer.head_seq) == (True, 7)


async def test_pages_of_a_person_hold_each_record_once(own_log: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.audit.repository._PAGE", 2)
    roles = [
        ("ann", "ann", "ann"),
        ("bob", "ann", "x"),
        ("bob", "bob", "ann"),
        ("ann", "bob", "x"),
        ("bob", "bob", "x"),
        ("ann", "ann", "x"),
    ]
    lines = [AuditRecord(actor, user, "", "edge", "s", "m", {"x_id": about}, "OK", "", "", "r").line() for actor, user, about in roles]
    await own_log.append([line.decode() for line in lines])
    assert [entry.seq async for page in own_log.pages_of("ann") for entry in page] == [1, 2, 3, 4, 6]
