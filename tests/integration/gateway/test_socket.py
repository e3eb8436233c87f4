"""Who may open a socket, how it ends, and what it says to nonsense."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
import redis.asyncio as redis
from websockets.exceptions import ConnectionClosedError

from gateway import socket as module
from gateway.tickets import Tickets
from mesh.settings import Settings
from services.auth.account import Account
from services.auth.keys import KeyRing, SigningKey
from services.auth.tokens import AccessTokens
from tests.integration.gateway.conftest import MAX_SOCKETS, Person
from tests.integration.gateway.journal import Journal

Talk = Callable[..., Any]


async def _ticket(address: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"http://{address}/v1/ws-tickets", headers=headers)


async def test_without_a_token_the_socket_closes_4001(talk: Talk) -> None:
    socket = await talk()
    assert await socket.closed() == 4001
    assert socket.connection.close_reason == "TOKEN_MISSING"


@pytest.mark.parametrize("authorization", ["Basic eDp5", "Bearer", "Bearer x", "Bearer e30.e30.e30", "x" * 4000])
async def test_a_bad_token_closes_4001(talk: Talk, authorization: str) -> None:
    socket = await talk(additional_headers={"authorization": authorization})
    assert await socket.closed() == 4001


async def test_a_forged_token_closes_4001(talk: Talk, settings: Settings, ann: Person) -> None:
    ring = KeyRing([SigningKey.generate()])
    token = AccessTokens(ring, settings.issuer, 300).issue(Account(ann.id, "ann@example.com", "Ann"))
    assert await (await talk(Person(ann.id, token))).closed() == 4001


async def test_a_token_without_the_scope_closes_4003(
    talk: Talk, settings: Settings, ring: KeyRing, monkeypatch: pytest.MonkeyPatch, ann: Person
) -> None:
    monkeypatch.setattr("services.auth.tokens.scopes_of", lambda _: frozenset({"graphs:read"}))
    token = AccessTokens(ring, settings.issuer, 300).issue(Account(ann.id, "ann@example.com", "Ann"))
    socket = await talk(Person(ann.id, token))
    assert await socket.closed() == 4003
    assert socket.connection.close_reason == "SCOPE_MISSING"


async def test_the_socket_ends_with_its_token(talk: Talk, person: Callable[..., Person], journal: Journal) -> None:
    somebody = person(ttl_s=2)
    socket = await talk(somebody)
    execution_id = journal.start(somebody.id)
    assert (await socket.ask(id="1", method="subscribe", execution_id=execution_id))["type"] == "subscribed"
    assert await socket.closed() == 4001


async def test_a_ticket_opens_one_socket(talk: Talk, address: str, journal: Journal, ann: Person) -> None:
    answer = await _ticket(address, ann.headers)
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 30
    assert answer.headers["cache-control"] == "no-store"
    query = f"?ticket={answer.json()['ticket']}"
    socket = await talk(query=query)
    assert await socket.ask(id="1", method="ping") == {"id": "1", "type": "pong"}
    execution_id = journal.start(ann.id)
    assert (await socket.ask(id="2", method="subscribe", execution_id=execution_id))["type"] == "subscribed"
    again = await talk(query=query)
    assert await again.closed() == 4001
    assert again.connection.close_reason == "TICKET_INVALID"


async def test_a_made_up_ticket_closes_4001(talk: Talk) -> None:
    for ticket in ("x", "x" * 500):
        assert await (await talk(query=f"?ticket={ticket}")).closed() == 4001


async def test_a_ticket_needs_a_token(address: str) -> None:
    answer = await _ticket(address, {})
    assert answer.status_code == 401
    assert answer.json()["code"] == 16
    assert answer.json()["details"][0]["reason"] == "TOKEN_MISSING"


async def test_the_cache_knows_neither_token_nor_ticket(address: str, cache_url: str, ann: Person) -> None:
    ticket = (await _ticket(address, ann.headers)).json()["ticket"]
    async with redis.Redis.from_url(cache_url, decode_responses=True) as cache:
        held = {str(key): str(await cache.get(key)) async for key in cache.scan_iter("ws-ticket:*")}
        assert held
        lives_s = [await cache.ttl(key) for key in held]
    assert all(0 < life_s <= 30 for life_s in lives_s)
    assert ticket not in str(held)
    assert ann.token not in str(held)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        '{"method":"sing"}',
        '{"method":"ping","extra":1}',
        '{"method":"subscribe"}',
        b"\x00\x01",
        "x" * 20_000,
        "\u20ac" * 20_000,
    ],
)
async def test_nonsense_is_answered_and_the_socket_lives(talk: Talk, ann: Person, frame: str | bytes) -> None:
    socket = await talk(ann)
    await socket.connection.send(frame)
    answer = await socket.hear()
    assert (answer["type"], answer["error"]["code"]) == ("error", 3)
    assert answer["error"]["details"][0]["reason"] == "FRAME_INVALID"
    assert await socket.ask(id="4", method="ping") == {"id": "4", "type": "pong"}


async def test_a_frame_that_no_command_can_fill_closes_1009(talk: Talk, ann: Person) -> None:
    socket = await talk(ann)
    await socket.connection.send("x" * (64 * 1024 + 1))
    assert await socket.closed() == 1009


async def test_no_memory_is_spent_on_compression(talk: Talk, ann: Person) -> None:
    socket = await talk(ann, compression="deflate")
    assert await socket.ask(id="1", method="ping") == {"id": "1", "type": "pong"}
    assert socket.connection.protocol.extensions == []


async def test_a_socket_follows_a_limited_number_of_channels(
    talk: Talk, journal: Journal, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SUBSCRIPTIONS", 2)
    socket = await talk(ann)
    answers = [await socket.ask(id="1", method="subscribe", execution_id=journal.start(ann.id)) for _ in range(3)]
    assert [answer["type"] for answer in answers] == ["subscribed", "subscribed", "error"]
    assert answers[2]["error"]["code"] == 8
    await socket.ask(id="2", method="unsubscribe", channel=answers[0]["channel"])
    assert (await socket.ask(id="3", method="subscribe", execution_id=journal.start(ann.id)))["type"] == "subscribed"


async def test_a_reader_that_stalls_is_closed_4008_and_comes_back(
    talk: Talk, journal: Journal, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.5)
    is_closing = asyncio.Event()

    async def close(*args: Any) -> None:
        is_closing.set()
        await module_close(*args)

    module_close = module.close
    monkeypatch.setattr(module, "close", close)
    execution_id = journal.start(ann.id)
    total = 400
    await journal.append(execution_id, total, is_last=True, is_published=False, value='"' + "x" * 50_000 + '"')
    # The client's library stops reading from the connection when this many frames wait for it.
    stalled = await talk(ann, max_queue=1)
    await stalled.say(id="1", method="subscribe", execution_id=execution_id)
    async with asyncio.timeout(10):
        await is_closing.wait()
    heard: list[int] = []
    with suppress(ConnectionClosedError):
        while frame := await stalled.hear():
            heard += [frame["event"]["seq"]] if frame["type"] == "event" else []
    assert stalled.connection.close_code == 4008
    assert heard == list(range(1, len(heard) + 1))
    assert len(heard) < total
    back = await talk(ann, max_queue=None)
    await back.ask(id="2", method="subscribe", execution_id=execution_id, after_seq=heard[-1] if heard else 0)
    rest = await back.events(total - len(heard))
    assert [event["seq"] for event in rest] == list(range(len(heard) + 1, total + 1))


async def test_what_goes_wrong_is_masked(address: str, ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> str:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(Tickets, "issue", fail)
    answer = await _ticket(address, ann.headers | {"x-request-id": "mine-1"})
    assert (answer.status_code, answer.json()["code"]) == (500, 13)
    assert answer.json()["details"][0]["metadata"]["error_id"]
    assert "hunter2" not in answer.text
    assert answer.headers["x-request-id"] == "mine-1"


async def test_root_says_where_things_are_and_other_routes_are_json_errors(address: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        root = await client.get("/")
        assert root.status_code == 200
        assert "/v1/ws" in root.text
        for verb, path, status, code in (("GET", "/nothing", 404, 5), ("GET", "/v1/ws-tickets", 405, 12), ("POST", "/", 405, 12)):
            answer = await client.request(verb, path)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-request-id"]
            assert ("allow" in answer.headers) == (status == 405)


async def test_who_is_not_known_yet_has_a_place_too(talk: Talk, ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    known = asyncio.Event()

    async def slow(*_: Any) -> str:
        await known.wait()
        return ann.token

    monkeypatch.setattr(Tickets, "redeem", slow)
    waiting = [await talk(query="?ticket=some") for _ in range(MAX_SOCKETS)]
    assert await (await talk(query="?ticket=some")).closed() == 1013
    known.set()
    assert (await waiting[0].ask(id="1", method="ping"))["type"] == "pong"
