"""GraphService over gRPC on real servers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from treadle.graph.v1 import graph_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.ids import uuid7
from services.graph.messages import parts_message
from tests.integration.graph.conftest import User
from tests.unit.graph.making import calculator, exported_calculator, graph, node


def message(name: str = "Adds", **more: Any) -> pb.Graph:
    it: pb.Graph = parts_message(calculator())
    it.name = name
    for field, value in more.items():
        setattr(it, field, value)
    return it


async def created(user: User, it: pb.Graph | None = None) -> pb.Graph:
    answer: pb.CreateGraphResponse = await user.graphs("CreateGraph", pb.CreateGraphRequest(graph=it or message()))
    return answer.graph


class Refusal:
    """What a refused call said."""

    code: grpc.StatusCode
    reason: str
    fields: dict[str, str]


@contextmanager
def refused() -> Iterator[Refusal]:
    said = Refusal()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield said
    said.code = caught.value.code()
    trailers: dict[str, Any] = dict(cast(Any, caught.value.trailing_metadata()))
    status = Status.FromString(trailers["grpc-status-details-bin"])
    said.fields = {}
    for detail in status.details:
        info, bad = ErrorInfo(), BadRequest()
        if detail.Unpack(info):
            said.reason = info.reason
        if detail.Unpack(bad):
            said.fields = {item.field: item.description for item in bad.field_violations}


async def test_a_graph_comes_back_as_it_was_saved(user: User) -> None:
    it = message(description="Adds 34")
    constants = '{"operation":"Add","b":9007199254740993,"zeta":1,"alpha":123456789012345678901234567890}'
    it.nodes[1].input_default.json = constants
    it.nodes[1].metadata.json = '{"position":{"y":1,"x":2}}'
    made = await created(user, it)
    assert (made.version, made.is_active, made.name, made.description) == (1, True, "Adds", "Adds 34")
    assert made.id != it.id
    got = (await user.graphs("GetGraph", pb.GetGraphRequest(graph_id=made.id))).graph
    assert got == made
    assert got.nodes[1].input_default.json == constants
    assert got.nodes[1].metadata.json == '{"position":{"y":1,"x":2}}'
    assert [item.is_static for item in got.links] == [True, False]
    assert json.loads(got.input_schema.json)["required"] == ["Input"]
    assert json.loads(got.output_schema.json)["required"] == ["Output"]


async def test_all_problems_are_refused_at_once_and_nothing_is_saved(user: User) -> None:
    bad: pb.Graph = parts_message(graph(node("a", "AgentInputBlock"), node("b", "no-such-block"), "a.result -> gone.x", "a.odd -> a.value"))
    bad.name = "bad"
    with refused() as said:
        await created(user, bad)
    assert (said.code, said.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "GRAPH_INVALID")
    assert set(said.fields) == {
        "graph.nodes[0].input_default.name",
        "graph.nodes[1].block_id",
        "graph.links[0].sink_id",
        "graph.links[1].source_name",
    }
    assert said.fields["graph.nodes[1].block_id"] == "node b: there is no block with the id 'no-such-block'"
    assert not (await user.graphs("ListGraphs", pb.ListGraphsRequest())).graphs


async def test_validate_reports_problems_with_node_and_field(user: User) -> None:
    bad: pb.Graph = parts_message(graph(node("sum", "CalculatorBlock", operation="Add", a=1)))
    bad.name = "bad"
    problems = (await user.graphs("ValidateGraph", pb.ValidateGraphRequest(graph=bad))).problems
    assert [(item.node_id, item.field) for item in problems] == [("sum", "b")]
    assert not (await user.graphs("ValidateGraph", pb.ValidateGraphRequest(graph=message()))).problems


async def test_text_that_is_no_json_is_a_problem_of_its_node(user: User) -> None:
    it = message()
    it.nodes[1].input_default.json = "{oops"
    with refused() as said:
        await created(user, it)
    assert list(said.fields) == ["graph.nodes[1].input_default"]


async def test_updates_make_versions_that_never_change(user: User) -> None:
    first = await created(user)
    second = (await user.graphs("UpdateGraph", pb.UpdateGraphRequest(graph_id=first.id, graph=message("Second")))).graph
    assert (second.id, second.version, second.is_active, second.name) == (first.id, 2, True, "Second")
    old = (await user.graphs("GetGraph", pb.GetGraphRequest(graph_id=first.id, version=1))).graph
    assert (old.name, old.is_active) == ("Adds", False)
    active = (await user.graphs("ActivateGraph", pb.ActivateGraphRequest(graph_id=first.id, version=1))).graph
    assert (active.version, active.is_active) == (1, True)
    assert (await user.graphs("GetGraph", pb.GetGraphRequest(graph_id=first.id))).graph.version == 1
    third = (await user.graphs("UpdateGraph", pb.UpdateGraphRequest(graph_id=first.id, graph=message("Third")))).graph
    assert third.version == 3
    page = await user.graphs("ListGraphVersions", pb.ListGraphVersionsRequest(graph_id=first.id, page_size=2))
    assert [(item.version, item.is_active) for item in page.graphs] == [(3, True), (2, False)]
    page = await user.graphs("ListGraphVersions", pb.ListGraphVersionsRequest(graph_id=first.id, page_token=page.next_page_token))
    assert [item.version for item in page.graphs] == [1]
    assert not page.next_page_token
    assert not page.graphs[0].nodes


async def test_updates_at_once_get_versions_of_their_own(user: User) -> None:
    first = await created(user)
    answers = await asyncio.gather(
        *(user.graphs("UpdateGraph", pb.UpdateGraphRequest(graph_id=first.id, graph=message(f"n{n}"))) for n in range(6))
    )
    assert sorted(answer.graph.version for answer in answers) == [2, 3, 4, 5, 6, 7]


async def test_an_update_with_an_old_etag_is_refused(user: User) -> None:
    first = await created(user)
    request = pb.UpdateGraphRequest(graph_id=first.id, graph=message())
    with refused() as said:
        await user.graphs("UpdateGraph", request, ("if-match", '"1-0"'))
    assert (said.code, said.reason) == (grpc.StatusCode.ABORTED, "GRAPH_CHANGED")


async def test_pages_go_from_the_last_changed_to_the_first(user: User) -> None:
    ids = [(await created(user, message(f"g{number}"))).id for number in range(5)]
    await user.graphs("UpdateGraph", pb.UpdateGraphRequest(graph_id=ids[1], graph=message("again")))
    seen: list[str] = []
    token = ""
    while True:
        page = await user.graphs("ListGraphs", pb.ListGraphsRequest(page_size=2, page_token=token))
        seen += [item.id for item in page.graphs]
        token = page.next_page_token
        if not token:
            break
    assert seen == [ids[1], ids[4], ids[3], ids[2], ids[0]]
    with refused() as said:
        await user.graphs("ListGraphs", pb.ListGraphsRequest(page_token="odd"))
    assert said.reason == "PAGE_TOKEN_INVALID"


async def test_a_repeated_create_returns_the_first_graph(user: User) -> None:
    request = pb.CreateGraphRequest(graph=message(), request_id=uuid7())
    first, second = await asyncio.gather(user.graphs("CreateGraph", request), user.graphs("CreateGraph", request))
    assert first.graph.id == second.graph.id
    other = pb.CreateGraphRequest(graph=message("Another"), request_id=request.request_id)
    with refused() as said:
        await user.graphs("CreateGraph", other)
    assert (said.code, said.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED")


async def test_a_repeated_import_returns_the_first_graph(user: User) -> None:
    request = document(exported_calculator())
    request.request_id = uuid7()
    first, second = await asyncio.gather(user.graphs("ImportGraph", request), user.graphs("ImportGraph", request))
    assert first.graph.id == second.graph.id
    other = document(exported_calculator() | {"name": "Another"})
    other.request_id = request.request_id
    with refused() as said:
        await user.graphs("ImportGraph", other)
    assert (said.code, said.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED")


@pytest.mark.parametrize("method", ["GetGraph", "UpdateGraph", "DeleteGraph", "ListGraphVersions", "ActivateGraph", "ExportGraph"])
async def test_what_belongs_to_another_is_not_found(method: str, user: User, make_user: Callable[[], Awaitable[User]]) -> None:
    mine = await created(user)
    other = await make_user()
    fields: dict[str, dict[str, Any]] = {"UpdateGraph": {"graph": message()}, "ActivateGraph": {"version": 1}}
    more = fields.get(method, {})
    for graph_id in (mine.id, uuid7(), "odd", mine.id.upper() + "0"):
        with refused() as said:
            await other.graphs(method, getattr(pb, f"{method}Request")(graph_id=graph_id, **more))
        assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "GRAPH_NOT_FOUND")
    assert (await user.graphs("GetGraph", pb.GetGraphRequest(graph_id=mine.id))).graph == mine


async def test_versions_that_are_not_there(user: User) -> None:
    mine = await created(user)
    for method in ("GetGraph", "ActivateGraph", "ExportGraph"):
        with refused() as said:
            await user.graphs(method, getattr(pb, f"{method}Request")(graph_id=mine.id, version=7))
        assert said.reason == "GRAPH_NOT_FOUND"


async def test_a_deleted_graph_is_gone(user: User) -> None:
    mine = await created(user)
    await user.graphs("GetGraph", pb.GetGraphRequest(graph_id=mine.id))
    await user.graphs("DeleteGraph", pb.DeleteGraphRequest(graph_id=mine.id))
    for method in ("GetGraph", "DeleteGraph"):
        with refused() as said:
            await user.graphs(method, getattr(pb, f"{method}Request")(graph_id=mine.id))
        assert said.code == grpc.StatusCode.NOT_FOUND


def document(value: dict[str, Any]) -> pb.ImportGraphRequest:
    return pb.ImportGraphRequest(document=JsonValue(json=json.dumps(value)))


async def test_an_autogpt_export_is_imported_and_exported(user: User) -> None:
    answer = await user.graphs("ImportGraph", document(exported_calculator()))
    assert answer.graph.name == "Calculator agent"
    assert [item.is_static for item in answer.graph.links] == [True, False]
    assert len(answer.report.changes) == 1
    text = (await user.graphs("ExportGraph", pb.ExportGraphRequest(graph_id=answer.graph.id))).document.json
    assert json.loads(text)["id"] == answer.graph.id
    again = await user.graphs("ImportGraph", document(json.loads(text)))
    assert again.graph.id != answer.graph.id
    assert again.graph.nodes == answer.graph.nodes


async def test_placeholders_may_stay_but_not_come(user: User) -> None:
    export = exported_calculator()
    gone = "1f292d4a-41a4-4977-9684-7c8d560b9f91"
    export["nodes"].append({"id": "ai", "block_id": gone, "input_default": {"prompt": "hi"}, "metadata": {}})
    answer = await user.graphs("ImportGraph", document(export))
    assert [(item.block_id, item.name, list(item.node_ids)) for item in answer.report.unknown_blocks] == [
        (gone, "AITextGeneratorBlock", ["ai"])
    ]
    assert [(item.provider, item.type) for item in answer.report.needed_credentials] == [("openai", "api_key")]
    kept = (await user.graphs("UpdateGraph", pb.UpdateGraphRequest(graph_id=answer.graph.id, graph=answer.graph))).graph
    assert kept.version == 2
    problems = (await user.graphs("ValidateGraph", pb.ValidateGraphRequest(graph=kept))).problems
    assert [(item.node_id, item.field) for item in problems] == [("ai", "block_id")]
    with refused() as said:
        await created(user, kept)
    assert list(said.fields) == ["graph.nodes[3].block_id"]


async def test_what_is_no_document_is_refused(user: User) -> None:
    for text in ("[]", "3", "{}", "{", '{"nodes": [1]}'):
        with refused() as said:
            await user.graphs("ImportGraph", pb.ImportGraphRequest(document=JsonValue(json=text)))
        assert said.code == grpc.StatusCode.INVALID_ARGUMENT
    assert not (await user.graphs("ListGraphs", pb.ListGraphsRequest())).graphs
