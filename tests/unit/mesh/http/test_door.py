"""The door from outside: what clients send and what they get."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from mesh.dispatch import Dispatcher
from mesh.http import streaming
from mesh.http_server import bind
from tests.unit.mesh.http.handlers import Executions, Graphs, Privacy

JSON = {"content-type": "application/json"}
NODE = {"id": "n1", "block_id": "b1", "input_default": {"z": 1, "a": 9007199254740993}}


def error_of(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    """The error body, checked for its form."""
    body: dict[str, Any] = response.json()
    assert response.status_code == status, body
    assert response.headers["content-type"] == "application/json"
    assert set(body) == {"code", "message", "details"}
    assert body["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert body["details"][0]["reason"] == reason
    return body


def fields_of(body: dict[str, Any]) -> list[str]:
    """The field paths that an error names."""
    return [item["field"] for detail in body["details"] for item in detail.get("field_violations", ())]


async def test_a_body_fills_its_field_and_the_response_is_unwrapped(door: httpx.AsyncClient) -> None:
    response = await door.post("/v1/graphs", json={"name": "g", "nodes": [NODE]})
    assert response.status_code == 200
    assert response.json()["nodes"] == [NODE]
    assert response.json()["links"] == []
    assert "create_time" not in response.json()
    assert response.headers["x-request-id"]


async def test_json_values_keep_key_order_and_long_integers(door: httpx.AsyncClient) -> None:
    text = '{"document":1,"b":2,"a":[123456789012345678901234567890,1.10,"\\u00e9"]}'
    response = await door.post("/v1/graphs:import", content=text, headers=JSON)
    assert f'"input_schema":{text}' in response.text
    exported = await door.get("/v1/graphs/x:export")
    assert exported.text == '{"b": 1, "a": 12345678901234567890123}'


@pytest.mark.parametrize(
    ("raw", "seen"),
    [("a%2Fb", "a/b"), ("a%3Aexport", "a:export"), ("%C3%A9%20", "é "), ("a:b", "a:b"), ("a+b", "a+b"), ("%25", "%")],
)
async def test_ids_with_odd_characters_reach_the_handler(door: httpx.AsyncClient, raw: str, seen: str) -> None:
    response = await door.get(f"/v1/graphs/{raw}")
    assert response.json()["id"] == seen


async def test_query_parameters_bind_to_fields(door: httpx.AsyncClient) -> None:
    response = await door.get("/v1/graphs/x", params={"version": "3"})
    assert response.json()["version"] == 3
    listed = await door.get("/v1/executions", params={"status": "EXECUTION_STATUS_FAILED"})
    assert listed.json()["executions"][0]["status"] == "EXECUTION_STATUS_FAILED"
    patched = await door.patch("/v1/users/me?update_mask=display_name,timezone", json={"display_name": "Ada"})
    assert patched.json()["timezone"] == "display_name,timezone"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("versio=1", "versio"),
        ("version=x", "version"),
        ("version=1.5", "version"),
        ("version=", "version"),
        ("version=99999999999", "version"),
        ("version=1&version=2", "version"),
        ("graph_id=y", "graph_id"),
        ("version=-1", "version"),
        ("%ff=1", "query"),
    ],
)
async def test_wrong_query_parameters_are_named(door: httpx.AsyncClient, query: str, field: str) -> None:
    body = error_of(await door.get(f"/v1/graphs/x?{query}"), 400, "REQUEST_INVALID")
    assert fields_of(body) == [field]


async def test_every_wrong_field_of_a_body_is_named_as_the_client_wrote_it(door: httpx.AsyncClient) -> None:
    sent = {"name": 3, "nodes": [NODE, {"id": "n2", "blockId": "x"}], "links": {}, "create_time": "soon"}
    body = error_of(await door.post("/v1/graphs", json=sent), 400, "REQUEST_INVALID")
    assert fields_of(body) == ["name", "nodes[1].blockId", "links", "create_time"]
    assert "did you mean block_id?" in json.dumps(body)


async def test_a_name_that_is_empty_or_endless_is_shown_all_the_same(door: httpx.AsyncClient) -> None:
    long = "x" * 100_000
    body = error_of(await door.post("/v1/graphs", json={"": 1, long: 2, "nodes": [{"": 1}]}), 400, "REQUEST_INVALID")
    assert fields_of(body) == ['""', "x" * 100 + "…", 'nodes[0].""']
    assert fields_of(error_of(await door.get("/v1/graphs?=1"), 400, "REQUEST_INVALID")) == ['""']
    many = "&".join(f"a{number}=1" for number in range(500))
    assert len(fields_of(error_of(await door.get(f"/v1/graphs?{many}"), 400, "REQUEST_INVALID"))) == 50


async def test_contract_rules_are_named_as_the_client_wrote_them(door: httpx.AsyncClient) -> None:
    body = error_of(await door.post("/v1/graphs", json={"name": "g", "nodes": [{"id": "n"}]}), 400, "REQUEST_INVALID")
    assert fields_of(body) == ["nodes[0].block_id"]
    assert body["message"].startswith("nodes[0].block_id: ")


async def test_maps_are_named_by_key(door: httpx.AsyncClient) -> None:
    sent = '{"graph_id":"g","input_masks":[]}'
    body = error_of(await door.post("/v1/executions", content=sent, headers=JSON), 400, "REQUEST_INVALID")
    assert fields_of(body) == ["input_masks"]


@pytest.mark.parametrize("text", ["{", "nope", '{"a":NaN}', '{"name":"\\ud800"}', "{}x", "\ufeff{}", '{"name":"a\nb"}'])
async def test_what_is_not_json_is_refused(door: httpx.AsyncClient, text: str) -> None:
    error_of(await door.post("/v1/graphs", content=text.encode(), headers=JSON), 400, "JSON_INVALID")


async def test_deep_and_ill_encoded_json_is_refused(door: httpx.AsyncClient) -> None:
    error_of(await door.post("/v1/graphs:import", content=b"[" * 101 + b"]" * 101, headers=JSON), 400, "JSON_INVALID")
    error_of(await door.post("/v1/graphs:import", content=b'{"a":"\xff"}', headers=JSON), 400, "JSON_INVALID")


async def test_an_empty_body_stands_for_an_empty_object(door: httpx.AsyncClient) -> None:
    response = await door.post("/v1/executions/e1:cancel")
    assert response.json()["id"] == "e1"


async def test_the_path_wins_over_no_other_value(door: httpx.AsyncClient) -> None:
    same = await door.post("/v1/blocks/b1:execute", json={"block_id": "b1", "inputs": {"x": 1}})
    assert same.json() == {"outputs": [{"name": "b1", "value": {"x": 1}}], "error": ""}
    other = await door.post("/v1/blocks/b1:execute", json={"block_id": "b2"})
    assert fields_of(error_of(other, 400, "REQUEST_INVALID")) == ["block_id"]


async def test_unknown_paths_and_verbs(door: httpx.AsyncClient) -> None:
    error_of(await door.get("/v1/nothing"), 404, "ROUTE_UNKNOWN")
    error_of(await door.get("/v1/graphs/"), 404, "ROUTE_UNKNOWN")
    refused = await door.post("/v1/graphs/x")
    error_of(refused, 405, "VERB_NOT_ALLOWED")
    assert refused.headers["allow"] == "DELETE, GET, HEAD, PUT"


async def test_the_id_of_a_request_comes_back_with_every_answer(door: httpx.AsyncClient) -> None:
    paths = ("/v1/graphs/x", "/v1/graphs/missing", "/v1/graphs/broken", "/v1/nothing", "/v1/executions/e:watch", "/v1/graphs/x?no=1")
    for path in paths:
        assert (await door.get(path, headers={"x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"
        made = (await door.get(path, headers={"x-request-id": "<script>"})).headers["x-request-id"]
        assert made.isalnum()
    refused = await door.post("/v1/graphs/x", headers={"x-request-id": "mine-1"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (405, "mine-1")


async def test_bodies_of_the_wrong_kind_or_size(door: httpx.AsyncClient) -> None:
    error_of(await door.post("/v1/graphs", content=b"a=1", headers={"content-type": "text/plain"}), 415, "MEDIA_TYPE_UNSUPPORTED")
    error_of(await door.post("/v1/graphs", content=b"{}", headers=JSON | {"content-encoding": "gzip"}), 415, "MEDIA_TYPE_UNSUPPORTED")
    error_of(await door.post("/v1/graphs", content=b" " * (4 * 1024 * 1024 + 1), headers=JSON), 413, "BODY_TOO_LARGE")
    error_of(await door.request("DELETE", "/v1/graphs/x", content=b"{}"), 400, "BODY_UNEXPECTED")
    assert (await door.delete("/v1/graphs/x")).json() == {}


async def test_handler_errors_and_masked_faults(door: httpx.AsyncClient) -> None:
    missing = await door.get("/v1/graphs/missing")
    assert error_of(missing, 404, "GRAPH_NOT_FOUND")["details"][0]["metadata"] == {"graph_id": "missing"}
    assert missing.headers["x-request-id"]
    broken = await door.get("/v1/graphs/broken")
    assert broken.status_code == 500
    assert "hunter2" not in broken.text
    error_of(broken, 500, "INTERNAL")
    error_of(await door.get("/v1/graphs/timeless"), 500, "INTERNAL")


async def test_an_etag_that_the_client_has_is_not_sent_again(door: httpx.AsyncClient) -> None:
    first = await door.get("/v1/graphs/x")
    assert first.headers["etag"] == '"v7"'
    for known in ('"v7"', 'W/"v7"', '"v6", "v7"', "*"):
        again = await door.get("/v1/graphs/x", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == '"v7"'
    assert (await door.get("/v1/graphs/x", headers={"if-none-match": '"v6"'})).status_code == 200


async def test_head_is_get_without_the_body(door: httpx.AsyncClient) -> None:
    full = await door.get("/v1/graphs/x")
    head = await door.head("/v1/graphs/x")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == full.headers["content-length"]
    assert (await door.head("/v1/graphs/missing")).status_code == 404


async def test_the_idempotency_key_becomes_the_request_id(door: httpx.AsyncClient) -> None:
    key = "0190d7a5-0000-7000-8000-00000000000a"
    header = {"idempotency-key": key}
    assert (await door.post("/v1/graphs", json={"name": "g"}, headers=header)).json()["instructions"] == key
    for same in (key, key.upper()):
        assert (await door.post("/v1/executions", json={"graph_id": "g", "request_id": same}, headers=header)).json()["id"] == key
    error_of(await door.post("/v1/graphs?request_id=1", json={"name": "g"}), 400, "REQUEST_ID_INVALID")


async def test_an_idempotency_key_beside_another_request_id_is_refused(door: httpx.AsyncClient) -> None:
    own = "0190d7a5-0000-7000-8000-000000000002"
    for key in ("0190d7a5-0000-7000-8000-000000000001", "order-7"):
        header = {"idempotency-key": key}
        for answer in (
            await door.post("/v1/executions", json={"graph_id": "g", "request_id": own}, headers=header),
            await door.post(f"/v1/graphs?request_id={own}", json={"name": "g"}, headers=header),
        ):
            body = error_of(answer, 400, "REQUEST_INVALID")
            assert [item["field"] for item in body["details"][1]["field_violations"]] == ["request_id"]


async def test_a_field_that_only_the_service_sets_is_refused_by_its_name_in_the_body(door: httpx.AsyncClient) -> None:
    refused = error_of(await door.patch("/v1/users/me", json={"display_name": "Ada", "email": "x@y.z"}), 400, "REQUEST_INVALID")
    assert [item["field"] for item in refused["details"][1]["field_violations"]] == ["email"]


async def test_an_unknown_verb_behind_a_colon_is_an_unknown_path(door: httpx.AsyncClient) -> None:
    for path in ("/v1/executions/e:nope", "/v1/graphs/g:nope", "/v1/executions/e:cancel:nope"):
        error_of(await door.post(path, json={}), 404, "ROUTE_UNKNOWN")
    error_of(await door.get("/v1/executions/e:cancel"), 405, "VERB_NOT_ALLOWED")
    # A colon in an id is written %3A.
    error_of(await door.post("/v1/executions/e%3Anope", json={}), 405, "VERB_NOT_ALLOWED")


async def test_an_idempotency_key_of_any_text_becomes_one_request_id(door: httpx.AsyncClient) -> None:
    ids = [(await _with_key(door, key)).json()["instructions"] for key in ("order-7", '"order-7"', "order-8")]
    assert ids[0] == ids[1] == str(uuid.UUID(ids[0]))
    assert ids[2] != ids[0]
    for bad in ('""', "x" * 256):
        assert error_of(await _with_key(door, bad), 400, "REQUEST_INVALID")["message"].startswith("idempotency-key")


async def _with_key(door: httpx.AsyncClient, key: str) -> httpx.Response:
    return await door.post("/v1/graphs", json={"name": "g"}, headers={"idempotency-key": key})


async def test_an_answer_without_an_etag_of_its_own_gets_one_from_its_bytes(door: httpx.AsyncClient) -> None:
    first = await door.get("/v1/users/me")
    assert first.headers["etag"].startswith('W/"')
    again = await door.get("/v1/users/me", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "etag" not in (await door.post("/v1/graphs", json={"name": "g"})).headers


async def test_healthz_tells_the_dispatchers_truth(door: httpx.AsyncClient, dispatcher: Dispatcher) -> None:
    assert (await door.get("/healthz")).json() == {"status": "SERVING"}
    dispatcher.is_serving = False
    assert (await door.get("/healthz")).status_code == 503


async def test_a_stream_is_one_json_object_per_line(door: httpx.AsyncClient) -> None:
    response = await door.get("/v1/executions/e:watch?after_seq=5")
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["x-request-id"]
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["seq"] for line in lines] == [6, 7]
    assert lines[0]["value"] == {"a": 1}


async def test_a_stream_has_no_head(door: httpx.AsyncClient) -> None:
    refused = await door.head("/v1/executions/endless:watch")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


async def test_a_stream_for_an_event_source(door: httpx.AsyncClient) -> None:
    response = await door.get("/v1/executions/failing:watch", headers={"accept": "text/event-stream"})
    assert response.headers["content-type"] == "text/event-stream"
    frames = response.text.removesuffix("\n\n").split("\n\n")
    assert [json.loads(frame.removeprefix("data: "))["seq"] for frame in frames[:2]] == [1, 2]
    assert frames[2].startswith('event: error\ndata: {"error":{"code":14,')


async def test_a_stream_that_fails_before_its_first_message_is_an_error(door: httpx.AsyncClient) -> None:
    error_of(await door.get("/v1/executions/missing:watch"), 404, "EXECUTION_NOT_FOUND")


async def test_a_stream_that_fails_later_says_so_in_its_last_line(door: httpx.AsyncClient) -> None:
    response = await door.get("/v1/executions/failing:watch")
    *_, last = response.text.splitlines()
    assert json.loads(last)["error"]["details"][0]["reason"] == "JOURNAL_AWAY"


async def test_a_silent_stream_for_an_event_source_gets_comments(door: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "OPEN_AFTER_S", 0.01)
    monkeypatch.setattr(streaming, "BEAT_EVERY_S", 0.05)
    async with door.stream("GET", "/v1/executions/silent:watch", headers={"accept": "text/event-stream"}) as response:
        lines = response.aiter_lines()
        async with asyncio.timeout(5):
            assert [await anext(lines) for _ in range(6)] == [":", "", ":", "", ":", ""]
    async with door.stream("GET", "/v1/executions/silent:watch") as response:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(response.aiter_lines())


@pytest.mark.parametrize("name", ["endless", "silent"])
async def test_a_client_that_leaves_ends_the_handler(door: httpx.AsyncClient, executions: Executions, name: str) -> None:
    async with door.stream("GET", f"/v1/executions/{name}:watch") as response:
        assert response.status_code == 200
        await executions.started.wait()
        assert not executions.ended.is_set()
    await asyncio.wait_for(executions.ended.wait(), 5)


async def test_a_client_that_does_not_wait_for_its_answer_ends_the_handler(door: httpx.AsyncClient, graphs: Graphs) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await door.get("/v1/graphs/endless", timeout=0.3)
    await asyncio.wait_for(graphs.ended.wait(), 5)
    assert (await door.get("/v1/graphs/x")).status_code == 200


async def test_a_body_is_refused_by_its_stated_size_before_it_is_sent(door: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection(door.base_url.host, door.base_url.port)
    try:
        writer.write(b"POST /v1/graphs HTTP/1.1\r\nhost: x\r\ncontent-length: 4194305\r\n\r\n")
        async with asyncio.timeout(5):
            assert b" 413 " in await reader.readline()
    finally:
        writer.close()


async def test_a_body_without_a_stated_size_is_refused_where_it_gets_too_large(door: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1024 * 1024

    error_of(await door.post("/v1/graphs", content=pieces(), headers=JSON), 413, "BODY_TOO_LARGE")
    assert (await door.get("/v1/graphs/x")).status_code == 200


async def test_a_stopping_process_ends_its_streams_in_order(
    door: httpx.AsyncClient, dispatcher: Dispatcher, executions: Executions
) -> None:
    async with door.stream("GET", "/v1/executions/endless:watch") as response:
        await executions.started.wait()
        dispatcher.end_streams()
        lines = [json.loads(line) async for line in response.aiter_lines()]
    assert lines[-1]["error"]["details"][0]["reason"] == "STOPPING"


def test_answers_do_not_wait_for_acknowledgements() -> None:
    sock, _ = bind("127.0.0.1:0")
    with sock:
        # By this asyncio's own loop knows that Nagle's algorithm has to go.
        assert sock.proto == socket.IPPROTO_TCP


class TestBytes:
    """A stream of bytes is a file over REST: as it is, and never shorter without notice."""

    async def test_a_stream_of_bytes_comes_as_it_is(self, door: httpx.AsyncClient) -> None:
        response = await door.post("/v1/users/me:export", json={}, headers={"accept": "text/event-stream"})
        assert (response.status_code, response.headers["content-type"]) == (200, "application/zip")
        assert response.content == b"".join(b"\r\n\0\xff" + bytes([n]) for n in range(3))

    async def test_what_fails_before_the_first_byte_is_an_error_as_any(self, door: httpx.AsyncClient, privacy: Privacy) -> None:
        privacy.fails_after = 0
        error_of(await door.post("/v1/users/me:export", json={}), 503, "AWAY")

    async def test_what_fails_later_breaks_the_connection_off(self, door: httpx.AsyncClient, privacy: Privacy) -> None:
        privacy.fails_after = 2
        with pytest.raises(httpx.RemoteProtocolError):
            await door.post("/v1/users/me:export", json={})
