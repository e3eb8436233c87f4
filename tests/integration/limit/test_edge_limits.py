"""Rate limits as clients meet them: a real Envoy, the limit service, Valkey and NATS behind it."""

import asyncio
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from subprocess import Popen
from typing import cast

import grpc
import grpc.aio
import httpx
import orjson
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status
from pydantic import SecretStr
from treadle.user.v1.user_service_pb2 import GetMeRequest
from treadle.user.v1.user_service_pb2_grpc import UserServiceStub

from mesh.edge.policy import EdgePolicy
from mesh.host import Host, hosted
from mesh.ids import uuid7
from mesh.local import valkey
from mesh.local.ports import free_port
from mesh.local.program import running
from mesh.rates import BUILT_IN, Rate
from mesh.runtime_settings import RuntimeSettings
from mesh.settings import Settings
from mesh.status import DETAILS
from services.limit.app import SERVICE
from services.limit.book import PREFIX
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Mesh, local_settings

ME = "/v1/users/me"
PLANS = "/v1/limits/plans"
KEYS = "/.well-known/jwks.json"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Popen[bytes]]]:
    """A Valkey that tests may stop for a while."""
    home, port, password = tmp_path_factory.mktemp("cache"), free_port(), secrets.token_hex(8)
    with running(valkey.prepare(home, port, password, home / "cache.log")) as process:
        yield valkey.url(port, password), process


@pytest.fixture(scope="module")
def local(own_cache: tuple[str, "Popen[bytes]"], nats_url: str) -> Settings:
    return local_settings(cache_url=SecretStr(own_cache[0]), nats_url=nats_url)


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return Mesh()


@pytest_asyncio.fixture(scope="module")
async def host(mesh: Mesh, local: Settings) -> AsyncIterator[Host]:
    async with hosted([*mesh.services(), SERVICE], local) as made:
        yield made


@pytest_asyncio.fixture(scope="module")
async def edge(host: Host) -> AsyncIterator[str]:
    # What stands before the edge says whose address it is: so that a test can have many.
    async with edge_before(host, policy=EdgePolicy(trusted_hops=1)) as address:
        yield address


@pytest_asyncio.fixture
async def client(edge: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{edge}", timeout=20) as made:
        yield made


class Someone:
    """A user with an address of their own, whom no test has heard of before."""

    def __init__(self, mesh: Mesh, local: Settings) -> None:
        self.id = uuid7()
        token = mesh.auth.token(local, user_id=self.id)
        self.headers = {"authorization": f"Bearer {token}", "x-forwarded-for": new_address()}


def new_address() -> str:
    return ".".join(str(10 + secrets.randbelow(200)) for _ in range(4))


@pytest.fixture
def someone(mesh: Mesh, local: Settings) -> Someone:
    return Someone(mesh, local)


@pytest_asyncio.fixture
async def admin(host: Host, someone: "Someone") -> AsyncIterator["Admin"]:
    # Past the edge: who changes the limits of all would soon have none left.
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", timeout=20) as client:
        made = Admin(client, someone.headers)
        yield made
        for plan in ("default", "address"):
            await made.set(plan, {})


class Admin:
    """Changes plans, and waits until they count."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self._client = client
        self._headers = headers

    async def set(self, plan: str, limits: dict[str, tuple[float, int]]) -> None:
        listed = [{"rate_class": f"RATE_CLASS_{it.upper()}", "per_second": rate, "burst": burst} for it, (rate, burst) in limits.items()]
        answer = await self._client.put(f"{PLANS}/{plan}", json={"limits": listed}, headers=self._headers)
        assert answer.status_code == 200, answer.text

        async def counts() -> bool:
            return answer.json() in (await self.listed())["plans"]

        await until(counts)

    async def assign(self, subject: str, plan: str) -> httpx.Response:
        return await self._client.post(f"{PLANS}/{plan}:assign", json={"subject": subject}, headers=self._headers)

    async def listed(self) -> dict[str, list[dict[str, object]]]:
        answer: dict[str, list[dict[str, object]]] = (await self._client.get(PLANS, headers=self._headers)).json()
        return answer


async def calls(client: httpx.AsyncClient, headers: dict[str, str], times: int, path: str = ME) -> list[httpx.Response]:
    return [await client.get(path, headers=headers) for _ in range(times)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.05)


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


async def test_answers_say_what_is_left(client: httpx.AsyncClient, someone: Someone) -> None:
    answers = await calls(client, someone.headers, 3)
    assert statuses(answers) == [200] * 3
    for answer in answers:
        assert answer.headers["ratelimit-limit"] == str(BUILT_IN["read"].burst)
        assert 0 < int(answer.headers["ratelimit-remaining"]) < BUILT_IN["read"].burst
        assert int(answer.headers["ratelimit-reset"]) >= 0


async def test_who_calls_too_often_is_refused_in_our_words(client: httpx.AsyncClient, admin: Admin, someone: Someone) -> None:
    await admin.set("default", {"read": (0.2, 3)})
    answers = await calls(client, someone.headers, 6)
    assert statuses(answers) == [200] * 3 + [429] * 3
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0", "0", "0"]
    for refused in answers[3:]:
        body = refused.json()
        assert (body["code"], body["details"][0]["reason"]) == (8, "RATE_LIMITED")
        delay = next(detail["retry_delay"] for detail in body["details"] if detail["@type"].endswith("RetryInfo"))
        assert 3 < float(delay.rstrip("s")) <= 5
        assert 1 <= int(refused.headers["retry-after"]) <= 5
        assert refused.headers["content-type"] == "application/json"
        assert refused.headers["x-request-id"]
        assert refused.headers["ratelimit-limit"] == "3"
        assert "grpc-status-details-bin" not in refused.headers


async def test_who_waits_as_told_is_served(client: httpx.AsyncClient, admin: Admin, someone: Someone) -> None:
    await admin.set("default", {"read": (2, 2)})
    assert statuses(await calls(client, someone.headers, 3)) == [200, 200, 429]
    refused = (await calls(client, someone.headers, 1))[0]
    await asyncio.sleep(int(refused.headers["retry-after"]))
    assert statuses(await calls(client, someone.headers, 1)) == [200]


async def test_grpc_clients_get_resource_exhausted(edge: str, admin: Admin, someone: Someone) -> None:
    await admin.set("default", {"read": (0.2, 1)})
    metadata = tuple(someone.headers.items())
    async with grpc.aio.insecure_channel(edge) as channel:
        stub = UserServiceStub(channel)
        initial = await stub.GetMe(GetMeRequest(), metadata=metadata).initial_metadata()
        assert dict(initial)["ratelimit-limit"] == "1"
        # The first refusal comes from the service, the second from what the edge remembers of it.
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetMe(GetMeRequest(), metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert str(refused.value.details()).startswith("Too many requests")
            trailing: dict[str, str | bytes] = dict(cast("Iterable[tuple[str, str | bytes]]", refused.value.trailing_metadata()))
            assert int(str(trailing["retry-after"])) >= 1
            status, retry, quota = Status.FromString(cast(bytes, trailing[DETAILS])), RetryInfo(), QuotaFailure()
            assert any(detail.Unpack(retry) for detail in status.details)
            assert any(detail.Unpack(quota) for detail in status.details)
            assert 3 < retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 <= 5


async def test_grpc_web_clients_are_told_too(client: httpx.AsyncClient, admin: Admin, someone: Someone) -> None:
    await admin.set("default", {"read": (0.2, 1)})
    headers = {**someone.headers, "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    answers = [await client.post("/treadle.user.v1.UserService/GetMe", headers=headers, content=bytes(5)) for _ in range(2)]
    assert answers[0].content.lower().replace(b" ", b"").endswith(b"\r\n")
    assert b"grpc-status:0" in answers[0].content.lower().replace(b" ", b"")
    assert answers[1].headers["grpc-status"] == "8"
    assert answers[1].headers[DETAILS]


async def test_everybody_has_a_limit_of_their_own(client: httpx.AsyncClient, admin: Admin, mesh: Mesh, local: Settings) -> None:
    await admin.set("default", {"read": (0.1, 2)})
    one, other = Someone(mesh, local), Someone(mesh, local)
    other.headers["x-forwarded-for"] = one.headers["x-forwarded-for"]
    assert statuses(await calls(client, one.headers, 3)) == [200, 200, 429]
    assert statuses(await calls(client, other.headers, 3)) == [200, 200, 429]
    # Nor does a new address give a new one.
    one.headers["x-forwarded-for"] = new_address()
    assert statuses(await calls(client, one.headers, 1)) == [429]


async def test_classes_are_counted_apart(client: httpx.AsyncClient, admin: Admin, someone: Someone) -> None:
    await admin.set("default", {"read": (0.1, 1)})
    assert statuses(await calls(client, someone.headers, 2)) == [200, 429]
    # The class of a path is that of the verb: PUT of a plan is no read.
    put = await client.put(f"{PLANS}/other", json={}, headers=someone.headers)
    assert put.status_code == 200
    await client.delete(f"{PLANS}/other", headers=someone.headers)


async def test_strangers_are_counted_by_their_address(client: httpx.AsyncClient, admin: Admin) -> None:
    await admin.set("address", {"read": (0.1, 3)})
    here, there = {"x-forwarded-for": new_address()}, {"x-forwarded-for": new_address()}
    assert statuses(await calls(client, here, 4, KEYS)) == [200] * 3 + [429]
    assert statuses(await calls(client, there, 4, KEYS)) == [200] * 3 + [429]


async def test_sockets_are_counted_when_they_are_opened(client: httpx.AsyncClient, admin: Admin) -> None:
    await admin.set("address", {"stream": (0.1, 2)})
    headers = {"x-forwarded-for": new_address(), "connection": "upgrade", "upgrade": "websocket"}
    headers |= {"sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert [status == 429 for status in statuses(await calls(client, headers, 3, "/v1/ws"))] == [False, False, True]


async def test_addresses_of_one_ipv6_network_are_one(client: httpx.AsyncClient, admin: Admin) -> None:
    await admin.set("address", {"read": (0.1, 3)})
    network = f"2001:db8:{secrets.randbelow(65535):x}:{secrets.randbelow(65535):x}"
    answers = [(await client.get(KEYS, headers={"x-forwarded-for": f"{network}::{host:x}"})).status_code for host in range(1, 6)]
    assert answers == [200] * 3 + [429] * 2


async def test_an_address_limits_all_who_come_from_it(client: httpx.AsyncClient, admin: Admin, mesh: Mesh, local: Settings) -> None:
    await admin.set("address", {"read": (0.1, 5)})
    address, answers = new_address(), list[int]()
    for _ in range(4):
        headers = {**Someone(mesh, local).headers, "x-forwarded-for": address}
        answers += statuses(await calls(client, headers, 2))
    assert answers == [200] * 5 + [429] * 3


async def test_api_keys_are_counted_by_their_public_part(client: httpx.AsyncClient, admin: Admin) -> None:
    await admin.set("default", {"read": (0.1, 2)})
    key = "trd_" + secrets.token_hex(4)
    headers = {"authorization": f"Bearer {key}_{'s' * 43}", "x-forwarded-for": new_address()}
    answers = statuses(await calls(client, headers, 2))
    # Another secret behind the same public part is the same key, for all that the edge knows.
    headers["authorization"] = f"bearer {key}_{'t' * 43}"
    assert [*answers, *statuses(await calls(client, headers, 1))][2] == 429
    assert 429 not in answers


async def test_a_plan_of_one_s_own_counts_for_one_alone(client: httpx.AsyncClient, admin: Admin, mesh: Mesh, local: Settings) -> None:
    await admin.set("tiny", {"read": (0.1, 1)})
    one, other = Someone(mesh, local), Someone(mesh, local)
    assert (await admin.assign(f"user.{one.id}", "tiny")).status_code == 200
    assert (await admin.assign(f"user.{one.id}", "none")).status_code == 404
    assert (await admin.assign("everybody", "tiny")).status_code == 400

    async def counts() -> bool:
        return (await calls(client, one.headers, 1))[0].headers["ratelimit-limit"] == "1"

    await until(counts)
    assert statuses(await calls(client, one.headers, 2))[1] == 429
    assert statuses(await calls(client, other.headers, 5)) == [200] * 5


async def test_a_change_counts_within_seconds_for_those_who_call_already(client: httpx.AsyncClient, admin: Admin, someone: Someone) -> None:
    assert set(statuses(await calls(client, someone.headers, 50))) == {200}
    await admin.set("default", {"read": (0.1, 2)})
    started = time.monotonic()

    async def is_refused() -> bool:
        return (await calls(client, someone.headers, 1))[0].status_code == 429

    await until(is_refused)
    assert time.monotonic() - started < 4


async def test_a_bad_setting_is_reported_and_the_last_good_one_counts(
    host: Host, client: httpx.AsyncClient, admin: Admin, someone: Someone
) -> None:
    await admin.set("default", {"read": (0.1, 4)})
    by_hand = RuntimeSettings(host.resources.bus, PREFIX)
    await by_hand.put("plan.default", b'{"read": {"per_second": "lots"}}')

    async def is_reported() -> bool:
        return bool((await admin.listed())["rejected"])

    await until(is_reported)
    assert [item["key"] for item in (await admin.listed())["rejected"]] == ["limits.plan.default"]
    assert statuses(await calls(client, someone.headers, 5)) == [200] * 4 + [429]


@pytest.mark.parametrize(
    "limits",
    [
        [{"rate_class": "RATE_CLASS_READ", "per_second": 0, "burst": 1}],
        [{"rate_class": "RATE_CLASS_READ", "per_second": "NaN", "burst": 1}],
        [{"rate_class": "RATE_CLASS_READ", "per_second": 1, "burst": 0}],
        [{"rate_class": "RATE_CLASS_UNSPECIFIED", "per_second": 1, "burst": 1}],
        [{"rate_class": "RATE_CLASS_READ", "per_second": 1, "burst": 1}] * 2,
    ],
)
async def test_a_plan_that_makes_no_sense_is_refused(client: httpx.AsyncClient, someone: Someone, limits: list[object]) -> None:
    answer = await client.put(f"{PLANS}/default", json={"limits": limits}, headers=someone.headers)
    assert answer.status_code == 400
    assert (await client.put(f"{PLANS}/Bad.Name", json={}, headers=someone.headers)).status_code == 400


async def test_a_plan_is_changed_only_as_it_was_seen(host: Host, client: httpx.AsyncClient, admin: Admin, someone: Someone) -> None:
    name = f"p-{uuid7()}"
    made = await client.put(f"{PLANS}/{name}", json={"limits": []}, headers=someone.headers)
    limits = {"limits": [{"rate_class": "RATE_CLASS_READ", "per_second": 5, "burst": 5}]}
    stale = await client.put(f"{PLANS}/{name}", json=limits, headers={**someone.headers, "if-match": '"other"'})
    assert (stale.status_code, stale.json()["details"][0]["reason"]) == (412, "ETAG_MISMATCH")
    changed = await client.put(f"{PLANS}/{name}", json=limits, headers={**someone.headers, "if-match": made.headers["etag"]})
    assert changed.status_code == 200
    again = await client.put(f"{PLANS}/{name}", json=limits, headers={**someone.headers, "if-match": made.headers["etag"]})
    assert again.status_code == 412

    async def is_shown() -> bool:
        shown = await client.get(f"{PLANS}/{name}", headers=someone.headers)
        return bool(shown.headers.get("etag") == changed.headers["etag"])

    await until(is_shown)
    built_in = await client.get(f"{PLANS}/default", headers=someone.headers)
    same = await client.put(f"{PLANS}/default", json={}, headers={**someone.headers, "if-match": built_in.headers["etag"]})
    assert same.status_code == 200
    assert (await client.get(f"{PLANS}/none", headers=someone.headers)).status_code == 404


async def test_plans_are_for_administrators(client: httpx.AsyncClient, mesh: Mesh, local: Settings) -> None:
    headers = {"authorization": f"Bearer {mesh.auth.token(local, scope='users:read')}"}
    assert (await client.get(PLANS, headers=headers)).status_code == 403
    assert (await client.put(f"{PLANS}/default", json={}, headers=headers)).status_code == 403


async def test_busy_callers_hardly_ever_wait_for_the_service(host: Host, client: httpx.AsyncClient, someone: Someone) -> None:
    before = _granted(host)
    await calls(client, someone.headers, 600)
    assert _granted(host) - before < 120


async def test_without_a_cache_everything_goes_on_with_limits_of_the_edge(
    host: Host, client: httpx.AsyncClient, own_cache: tuple[str, "Popen[bytes]"], mesh: Mesh, local: Settings
) -> None:
    os.kill(own_cache[1].pid, signal.SIGSTOP)
    try:
        started, seen = time.monotonic(), Counter[int]()
        for _ in range(40):
            seen.update(statuses(await calls(client, Someone(mesh, local).headers, 2)))
        assert set(seen) == {200}
        assert time.monotonic() - started < 8
        # Its own limits count meanwhile, and say so.
        one = Someone(mesh, local)
        answers = await calls(client, one.headers, 5)
        assert any("ratelimit-limit" in answer.headers for answer in answers)
    finally:
        os.kill(own_cache[1].pid, signal.SIGCONT)
    before = _granted(host)

    async def is_asked_again() -> bool:
        await calls(client, Someone(mesh, local).headers, 1)
        return _granted(host) > before

    await until(is_asked_again)


async def test_without_the_service_the_edge_counts_by_itself(mesh: Mesh, local: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, Rate]", BUILT_IN), "read", Rate(1, 5))
    async with (
        hosted(mesh.services(), local) as bare,
        edge_before(bare) as edge,
        httpx.AsyncClient(base_url=f"http://{edge}", timeout=20) as client,
    ):
        # The first asks in vain; from then on the edge has counts of its own for a second.
        answers = await calls(client, Someone(mesh, local).headers, 10)
        other = await calls(client, Someone(mesh, local).headers, 3)
    assert statuses(answers)[:6] == [200] * 6
    assert 429 in statuses(answers)
    assert statuses(other) == [200] * 3
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert orjson.loads(refused.content)["details"][0]["reason"] == "RATE_LIMITED"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-limit"] == "5"


def _granted(host: Host) -> float:
    lines = host.metrics.text().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('treadle_limit_verdicts_total{class="read"'))
