"""Drafts over HTTP/JSON and gRPC, by the doors of the service itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import asyncpg
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from treadle.graph.v1 import draft_service_pb2 as pb
from treadle.graph.v1.draft_service_pb2_grpc import DraftServiceStub

from mesh.database import role_of
from mesh.host import Host
from mesh.ids import uuid7
from mesh.settings import Settings
from services.graph.drafts import MAX_PROBLEMS
from services.graph.messages import content_message
from tests.integration.graph.conftest import User
from tests.integration.transcript import Transcript
from tests.unit.graph.installed import block_id
from tests.unit.graph.making import calculator

GOLDEN = Path(__file__).parents[2] / "data" / "http" / "drafts.md"
CONFLICT = "type.googleapis.com/treadle.graph.v1.DraftConflict"


@pytest_asyncio.fixture
async def http(host: Host, user: User) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the user's token."""
    headers = {"authorization": f"Bearer {user.token}"}
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", headers=headers, timeout=20, trust_env=False) as client:
        yield client


def adds(amount: int, **more: Any) -> dict[str, Any]:
    """A graph that can be saved and run."""
    nodes = [
        {"id": "in", "block_id": block_id("AgentInputBlock"), "input_default": {"name": "X"}},
        {"id": "sum", "block_id": block_id("CalculatorBlock"), "input_default": {"operation": "Add", "b": amount}},
        {"id": "out", "block_id": block_id("AgentOutputBlock"), "input_default": {"name": "R"}},
    ]
    links = [
        {"source_id": "in", "source_name": "result", "sink_id": "sum", "sink_name": "a"},
        {"source_id": "sum", "source_name": "result", "sink_id": "out", "sink_name": "value"},
    ]
    return {"name": "Adds", "description": "", "nodes": nodes, "links": links, **more}


# No name, a block that is nowhere, and a link into the void.
BROKEN = {
    "nodes": [{"id": "a", "block_id": "nowhere", "input_default": {"b": 9007199254740993, "a": 1}}],
    "links": [{"source_id": "a", "source_name": "x", "sink_id": "gone", "sink_name": "y"}],
}


async def saved(http: httpx.AsyncClient, graph_id: str, graph: dict[str, Any], etag: str = "", **query: Any) -> dict[str, Any]:
    answer = await http.put(f"/v1/drafts/{graph_id}", json=graph, headers={"if-match": etag} if etag else {}, params=query)
    assert answer.status_code == 200, answer.text
    draft: dict[str, Any] = answer.json()
    assert answer.headers["etag"] == f'"{draft["etag"]}"'
    return draft


async def graph_with_draft(http: httpx.AsyncClient) -> dict[str, Any]:
    made = (await http.post("/v1/graphs", json=adds(1))).json()
    return await saved(http, made["id"], adds(2))


def detail(answer: httpx.Response, kind: str = CONFLICT) -> dict[str, Any]:
    found: list[dict[str, Any]] = [item for item in answer.json()["details"] if item["@type"] == kind]
    assert len(found) == 1, answer.text
    return found[0]


def reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["details"][0]["reason"]


def amount(graph: dict[str, Any]) -> Any:
    return graph["nodes"][1]["input_default"]["b"]


async def test_a_draft_stands_beside_the_versions(http: httpx.AsyncClient) -> None:
    draft = await graph_with_draft(http)
    path = f"/v1/drafts/{draft['graph_id']}"
    assert (draft["base_version"], draft["problems"], draft["graph"]["id"], draft["graph"]["version"]) == (1, [], draft["graph_id"], 0)
    assert draft["graph"]["input_schema"]["required"] == ["X"]
    assert amount((await http.get(f"/v1/graphs/{draft['graph_id']}")).json()) == 1
    got = await http.get(path)
    assert got.json() == draft
    assert (await http.get(path, headers={"if-none-match": got.headers["etag"]})).status_code == 304
    changed = await saved(http, draft["graph_id"], adds(3), got.headers["etag"])
    assert changed["etag"] != draft["etag"]
    assert changed["create_time"] == draft["create_time"]
    assert (await http.delete(path)).status_code == 200
    assert reason(await http.get(path)) == (404, "DRAFT_NOT_FOUND")
    assert reason(await http.delete(path)) == (404, "DRAFT_NOT_FOUND")
    assert (await http.get(f"/v1/graphs/{draft['graph_id']}/versions")).json()["graphs"][0]["version"] == 1


async def test_what_was_saved_can_be_sent_back_as_it_is(http: httpx.AsyncClient) -> None:
    draft = await graph_with_draft(http)
    again = await saved(http, draft["graph_id"], draft["graph"], draft["etag"])
    assert (again["etag"], again["graph"], again["update_time"]) == (draft["etag"], draft["graph"], draft["update_time"])


async def test_a_graph_with_problems_is_saved_with_what_is_wrong(http: httpx.AsyncClient) -> None:
    draft = (await http.post("/v1/drafts", json=BROKEN)).json()
    assert [(item["node_id"], item["field"]) for item in draft["problems"]] == [
        ("", "name"),
        ("a", "links[0].sink_id"),
        ("a", "block_id"),
    ]
    assert draft["problem_count"] == 3
    got = await http.get(f"/v1/drafts/{draft['graph_id']}")
    assert got.json() == draft
    assert '"input_default":{"b":9007199254740993,"a":1}' in got.text
    refused = await http.post(f"/v1/drafts/{draft['graph_id']}:publish", json={})
    assert reason(refused) == (400, "GRAPH_INVALID")
    assert (await http.get(f"/v1/drafts/{draft['graph_id']}")).status_code == 200
    mended = await saved(http, draft["graph_id"], adds(1))
    assert mended["problems"] == []


async def test_the_list_of_problems_has_an_end(http: httpx.AsyncClient) -> None:
    nodes = [{"id": str(number), "block_id": "nowhere"} for number in range(MAX_PROBLEMS + 50)]
    draft = (await http.post("/v1/drafts", json={"name": "x", "nodes": nodes})).json()
    assert len(draft["problems"]) == MAX_PROBLEMS
    assert draft["problem_count"] == MAX_PROBLEMS + 50


async def test_what_is_malformed_is_not_saved(http: httpx.AsyncClient) -> None:
    for graph in ({"nodes": [{"id": "a"}]}, {"colour": 1}, {"name": "x" * 501}, {"nodes": [{"id": "a", "block_id": "b"}] * 10_001}):
        assert (await http.post("/v1/drafts", json=graph)).status_code == 400
    assert (await http.get("/v1/drafts")).json()["drafts"] == []


async def test_a_conflict_tells_both_contents(http: httpx.AsyncClient) -> None:
    first = await graph_with_draft(http)
    second = await saved(http, first["graph_id"], adds(3), first["etag"])
    lost = await http.put(f"/v1/drafts/{first['graph_id']}", json=adds(4), headers={"if-match": f'"{first["etag"]}"'})
    assert reason(lost) == (412, "DRAFT_CHANGED")
    assert lost.json()["code"] == 10
    conflict = detail(lost)
    assert conflict["stored"] == second
    assert (amount(conflict["sent"]), conflict["is_shortened"]) == (4, False)
    assert "newest" not in conflict
    # The same by the field of the message.
    by_field = await http.put(f"/v1/drafts/{first['graph_id']}", json=adds(4), params={"etag": first["etag"]})
    assert reason(by_field) == (412, "DRAFT_CHANGED")
    for call in (
        http.delete(f"/v1/drafts/{first['graph_id']}", headers={"if-match": f'"{first["etag"]}"'}),
        http.post(f"/v1/drafts/{first['graph_id']}:publish", json={"etag": first["etag"]}),
    ):
        answer = await call
        assert reason(answer) == (412, "DRAFT_CHANGED")
        assert detail(answer)["stored"] == second
    assert (await http.get(f"/v1/drafts/{first['graph_id']}")).json() == second


async def test_a_large_conflict_is_whole_over_rest_and_brief_over_grpc(host: Host, http: httpx.AsyncClient, user: User) -> None:
    draft = await graph_with_draft(http)
    large = adds(5, description="d" * 20_000)
    await saved(http, draft["graph_id"], large)
    lost = await http.put(f"/v1/drafts/{draft['graph_id']}", json=large | {"name": "Other"}, headers={"if-match": draft["etag"]})
    assert detail(lost)["stored"]["graph"]["description"] == large["description"]
    async with grpc.aio.insecure_channel(host.grpc_address) as channel:
        stub: Any = DraftServiceStub(channel)
        request = pb.UpdateDraftRequest(graph_id=draft["graph_id"], graph=content_message(calculator()), etag=draft["etag"])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UpdateDraft(request, metadata=(("authorization", f"Bearer {user.token}"),), timeout=20)
    trailers: dict[str, Any] = dict(cast(Any, caught.value.trailing_metadata()))
    status, info, conflict = Status.FromString(trailers["grpc-status-details-bin"]), ErrorInfo(), pb.DraftConflict()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(conflict)
    stored = (await http.get(f"/v1/drafts/{draft['graph_id']}")).json()
    assert (info.reason, conflict.is_shortened, conflict.stored.etag) == ("DRAFT_CHANGED", True, stored["etag"])


async def test_of_saves_at_once_that_go_on_from_the_same_draft_one_wins(http: httpx.AsyncClient) -> None:
    draft = await graph_with_draft(http)
    path, headers = f"/v1/drafts/{draft['graph_id']}", {"if-match": f'"{draft["etag"]}"'}
    answers = await asyncio.gather(*(http.put(path, json=adds(10 + number), headers=headers) for number in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 7]
    (won,) = [answer for answer in answers if answer.status_code == 200]
    assert (await http.get(path)).json() == won.json()
    assert all(detail(answer)["stored"] == won.json() for answer in answers if answer is not won)


async def test_of_first_saves_at_once_one_is_first(http: httpx.AsyncClient) -> None:
    graph_id = (await http.post("/v1/graphs", json=adds(1))).json()["id"]
    calls = (http.put(f"/v1/drafts/{graph_id}", json=adds(10 + number), headers={"if-none-match": "*"}) for number in range(8))
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 7]
    # Without a condition the last one counts, and none fails.
    answers = await asyncio.gather(*(http.put(f"/v1/drafts/{graph_id}", json=adds(20 + number)) for number in range(8)))
    assert {answer.status_code for answer in answers} == {200}


async def test_a_save_whose_answer_was_lost_is_no_conflict(http: httpx.AsyncClient) -> None:
    draft = await graph_with_draft(http)
    second = await saved(http, draft["graph_id"], adds(3), draft["etag"])
    assert await saved(http, draft["graph_id"], adds(3), draft["etag"]) == second


async def test_saving_writes_no_more_rows(http: httpx.AsyncClient, user: User, migrated: Settings) -> None:
    draft = await graph_with_draft(http)
    for number in range(20):
        draft = await saved(http, draft["graph_id"], adds(number), draft["etag"])
    connection = await asyncpg.connect(migrated.database_url.get_secret_value(), server_settings={"role": role_of("graph")})
    try:
        assert await connection.fetchval("SELECT count(*) FROM graph.draft WHERE owner_id = $1", user.id) == 1
        assert await connection.fetchval("SELECT count(*) FROM graph.graph_version WHERE owner_id = $1", user.id) == 1
    finally:
        await connection.close()


async def test_a_draft_is_published_as_the_next_version(http: httpx.AsyncClient) -> None:
    draft = await graph_with_draft(http)
    path = f"/v1/drafts/{draft['graph_id']}:publish"
    published = await http.post(path, json={}, headers={"if-match": f'"{draft["etag"]}"'})
    assert published.status_code == 200, published.text
    graph = published.json()
    assert (graph["version"], graph["is_active"], graph["links"]) == (2, True, draft["graph"]["links"])
    got = await http.get(f"/v1/graphs/{draft['graph_id']}")
    assert got.json() == graph
    assert got.headers["etag"] == published.headers["etag"]
    assert reason(await http.get(f"/v1/drafts/{draft['graph_id']}")) == (404, "DRAFT_NOT_FOUND")
    # The answer was lost, and the call comes again.
    assert (await http.post(path, json={"etag": draft["etag"]})).json() == graph
    assert reason(await http.post(path, json={})) == (404, "DRAFT_NOT_FOUND")
    # Who still edits the draft that was published is told what it has become.
    late = await http.put(f"/v1/drafts/{draft['graph_id']}", json=adds(9), headers={"if-match": f'"{draft["etag"]}"'})
    assert reason(late) == (412, "DRAFT_CHANGED")
    conflict = detail(late)
    assert ("stored" in conflict, conflict["newest"], amount(conflict["sent"])) == (False, graph, 9)
    assert (await saved(http, draft["graph_id"], adds(9)))["base_version"] == 2


async def test_a_new_agent_begins_as_a_draft(http: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": uuid7()}
    draft = (await http.post("/v1/drafts", json=adds(1), headers=headers)).json()
    assert (await http.post("/v1/drafts", json=adds(1), headers=headers)).json() == draft
    assert reason(await http.post("/v1/drafts", json=adds(2), headers=headers)) == (400, "REQUEST_ID_REUSED")
    assert draft["base_version"] == 0
    assert reason(await http.get(f"/v1/graphs/{draft['graph_id']}")) == (404, "GRAPH_NOT_FOUND")
    changed = await saved(http, draft["graph_id"], adds(7), draft["etag"])
    graph = (await http.post(f"/v1/drafts/{draft['graph_id']}:publish", json={"etag": changed["etag"]})).json()
    assert (graph["id"], graph["version"], amount(graph)) == (draft["graph_id"], 1, 7)
    assert (await http.post(f"/v1/drafts/{draft['graph_id']}:publish", json={"etag": changed["etag"]})).json() == graph
    assert [item["id"] for item in (await http.get("/v1/graphs")).json()["graphs"]] == [draft["graph_id"]]


async def test_a_draft_of_an_older_version_is_not_published(http: httpx.AsyncClient) -> None:
    draft = await graph_with_draft(http)
    newest = (await http.put(f"/v1/graphs/{draft['graph_id']}", json=adds(8))).json()
    # That the version before is made active again changes nothing.
    await http.post(f"/v1/graphs/{draft['graph_id']}:activate", json={"version": 1})
    path = f"/v1/drafts/{draft['graph_id']}:publish"
    refused = await http.post(path, json={"etag": draft["etag"]})
    assert reason(refused) == (409, "DRAFT_OUTDATED")
    conflict = detail(refused)
    assert conflict["stored"] == draft
    assert (conflict["newest"]["version"], amount(conflict["newest"])) == (2, amount(newest))
    # Whoever has looked at both says so with the next save.
    merged = await saved(http, draft["graph_id"], adds(8, description="merged"), draft["etag"], base_version=2)
    assert (await http.post(path, json={"etag": merged["etag"]})).json()["version"] == 3
    beyond = await http.put(f"/v1/drafts/{draft['graph_id']}", json=adds(1), params={"base_version": 4})
    assert reason(beyond) == (400, "BASE_VERSION_INVALID")


async def test_publishing_at_once_makes_one_version(http: httpx.AsyncClient) -> None:
    for draft in (await graph_with_draft(http), (await http.post("/v1/drafts", json=adds(1))).json()):
        path = f"/v1/drafts/{draft['graph_id']}:publish"
        answers = await asyncio.gather(*(http.post(path, json={"etag": draft["etag"]}) for _ in range(6)))
        codes = {answer.status_code for answer in answers}
        assert 200 in codes
        assert codes <= {200, 409, 412}, [answer.text for answer in answers]
        versions = (await http.get(f"/v1/graphs/{draft['graph_id']}/versions")).json()["graphs"]
        assert len(versions) == draft["base_version"] + 1


async def test_publishing_and_saving_a_version_at_once_loses_neither(http: httpx.AsyncClient) -> None:
    for _ in range(4):
        draft = await graph_with_draft(http)
        published, put = await asyncio.gather(
            http.post(f"/v1/drafts/{draft['graph_id']}:publish", json={"etag": draft["etag"]}),
            http.put(f"/v1/graphs/{draft['graph_id']}", json=adds(50)),
        )
        assert put.status_code == 200
        versions = (await http.get(f"/v1/graphs/{draft['graph_id']}/versions")).json()["graphs"]
        is_published = published.status_code == 200
        assert len(versions) == (3 if is_published else 2)
        assert is_published or reason(published) == (409, "DRAFT_OUTDATED")
        assert (await http.get(f"/v1/drafts/{draft['graph_id']}")).status_code == (404 if is_published else 200)


async def test_a_draft_goes_with_its_graph(http: httpx.AsyncClient) -> None:
    draft = await graph_with_draft(http)
    assert (await http.delete(f"/v1/graphs/{draft['graph_id']}")).status_code == 200
    assert reason(await http.get(f"/v1/drafts/{draft['graph_id']}")) == (404, "DRAFT_NOT_FOUND")
    assert reason(await http.put(f"/v1/drafts/{draft['graph_id']}", json=adds(1))) == (404, "GRAPH_NOT_FOUND")


async def test_deleting_and_saving_at_once_leaves_no_orphan(http: httpx.AsyncClient) -> None:
    for _ in range(4):
        graph_id = (await http.post("/v1/graphs", json=adds(1))).json()["id"]
        await asyncio.gather(
            http.delete(f"/v1/graphs/{graph_id}"), *(http.put(f"/v1/drafts/{graph_id}", json=adds(number)) for number in range(4))
        )
        assert (await http.get(f"/v1/drafts/{graph_id}")).status_code == 404


async def test_drafts_are_listed_last_changed_first(http: httpx.AsyncClient) -> None:
    made = [(await http.post("/v1/drafts", json=adds(1, name=f"N{number}"))).json() for number in range(3)]
    await saved(http, made[0]["graph_id"], adds(5, name="N0"))
    first = (await http.get("/v1/drafts", params={"page_size": 2})).json()
    second = (await http.get("/v1/drafts", params={"page_size": 2, "page_token": first["next_page_token"]})).json()
    listed = first["drafts"] + second["drafts"]
    assert [item["graph"]["name"] for item in listed] == ["N0", "N2", "N1"]
    assert second["next_page_token"] == ""
    assert all(item["graph"]["nodes"] == [] and item["problem_count"] == 0 for item in listed)
    assert [item["etag"] for item in listed[1:]] == [made[2]["etag"], made[1]["etag"]]


async def test_drafts_look_as_recorded(http: httpx.AsyncClient) -> None:
    note: dict[str, Any] = {"id": "note", "block_id": block_id("NoteBlock"), "input_default": {"text": "to do"}}
    script = Transcript(http, "Drafts over REST", [note["block_id"], block_id("StoreValueBlock")])
    new = await script.call("A new agent", "POST", "/v1/drafts", {"name": "Plans", "nodes": [note]})
    path, before = f"/v1/drafts/{new['graph_id']}", {"if-match": f'"{new["etag"]}"'}
    wire = {"source_id": "store", "source_name": "output", "sink_id": "gone", "sink_name": "value"}
    store = {"id": "store", "block_id": block_id("StoreValueBlock"), "input_default": {"input": 1}}
    saved = await script.call("Saved with a mistake", "PUT", path, {"name": "Plans", "nodes": [store], "links": [wire]}, before)
    await script.call("By somebody who has not seen that", "PUT", path, {"name": "Mine"}, before)
    await script.call("It cannot be published so", "POST", f"{path}:publish", {"etag": saved["etag"]})
    mended = await script.call("Mended", "PUT", path, {"name": "Plans", "nodes": [store]})
    await script.call("All drafts", "GET", "/v1/drafts")
    await script.call("Published", "POST", f"{path}:publish", {"etag": mended["etag"]})
    await script.call("And no draft any more", "GET", path)
    old = await script.call("The next draft", "PUT", path, {"name": "Plans", "nodes": [store, note]})
    await http.put(f"/v1/graphs/{new['graph_id']}", json={"name": "Other", "nodes": [store]})
    await script.call("A version was saved since", "POST", f"{path}:publish", {"etag": old["etag"]})
    script.compare(GOLDEN)


async def test_drafts_of_others_do_not_exist(host: Host, http: httpx.AsyncClient, make_user: Callable[[], Awaitable[User]]) -> None:
    draft = await graph_with_draft(http)
    new = (await http.post("/v1/drafts", json=adds(1))).json()
    other = {"authorization": f"Bearer {(await make_user()).token}"}
    async with httpx.AsyncClient(base_url=f"http://{host.http_address}", headers=other, timeout=20, trust_env=False) as stranger:
        for graph_id in (draft["graph_id"], new["graph_id"], "none", uuid7()):
            path = f"/v1/drafts/{graph_id}"
            assert reason(await stranger.get(path)) == (404, "DRAFT_NOT_FOUND")
            assert reason(await stranger.put(path, json=adds(1))) == (404, "GRAPH_NOT_FOUND")
            assert reason(await stranger.delete(path)) == (404, "DRAFT_NOT_FOUND")
            assert reason(await stranger.post(f"{path}:publish", json={"etag": draft["etag"]})) == (404, "DRAFT_NOT_FOUND")
        assert json.loads((await stranger.get("/v1/drafts")).text)["drafts"] == []
