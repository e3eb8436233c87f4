"""Rate limits as clients meet them: a real Envoy, the limit service, Valkey and NATS behind it."""

import asyncio
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterable
from subprocess import Popen
from typing import cast

import grpc
import grpc.aio
import httpx
import orjson
import pytest
from google.rpc.error_details_pb2 import QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status
from treadle.user.v1.user_service_pb2 import GetMeRequest
from treadle.user.v1.user_service_pb2_grpc import UserServiceStub

from mesh.host import Host, hosted
from mesh.rates import BUILT_IN, Rate
from mesh.settings import Settings
from mesh.status import DETAILS
from tests.integration.limit.conftest import KEYS, PLANS, Admin, Someone, calls, granted, new_address, statuses, until
from tests.integration.mesh.edges import edge_before
from tests.integration.mesh.hosts import Mesh


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


async def test_busy_callers_hardly_ever_wait_for_the_service(host: Host, client: httpx.AsyncClient, someone: Someone) -> None:
    before = granted(host)
    await calls(client, someone.headers, 600)
    assert granted(host) - before < 120


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
    before = granted(host)

    async def is_asked_again() -> bool:
        await calls(client, Someone(mesh, local).headers, 1)
        return granted(host) > before

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
