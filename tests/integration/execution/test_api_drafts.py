"""Executions of drafts: what they run, and that they go on running it whatever becomes of the draft."""

import grpc
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.graph.v1.graph_service_pb2 import Graph

from mesh.ids import uuid7
from tests.integration.execution.api import Api, Person, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, OUTPUT, TOUCH, document, link, node
from tests.integration.execution.test_api_agents import adding, calling, children, result
from tests.integration.execution.test_api_retries import FAILING, retry
from tests.integration.execution.touch import Touches


async def graph_of(person: Person, execution_id: str) -> Graph:
    """The graph that an execution runs."""
    answer = await person.call("GetExecutionGraph", pb.GetExecutionGraphRequest(execution_id=execution_id))
    graph: Graph = answer.graph
    return graph


async def snapshots(lab: Lab, graph_id: str) -> list[str]:
    """Under which ids something of a graph is kept."""
    rows = await lab.pool.fetch("SELECT graph_id FROM graph_snapshot WHERE graph_id LIKE $1 ORDER BY 1", f"{graph_id}%")
    return [row[0] for row in rows]


async def test_an_execution_runs_what_the_draft_held_when_it_was_created(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id = await person.save(adding(1))
    draft = await person.draft(adding(10), graph_id)
    created = await person.run_draft(graph_id, X="1")
    assert (created.graph_id, created.graph_version, created.graph_revision) == (graph_id, 0, draft.revision)
    of_version = await person.create(graph_id, X="1")
    assert (of_version.graph_version, of_version.graph_revision) == (1, "")
    later = await person.draft(adding(100), graph_id)
    after = await person.run_draft(graph_id, X="1")
    await person.drop_draft(graph_id)
    await person.delete(graph_id)
    async with lab.worker():
        assert await result(person, created.id) == {"R": [11]}
        assert await result(person, of_version.id) == {"R": [2]}
        assert await result(person, after.id) == {"R": [101]}
    assert after.graph_revision == later.revision != draft.revision
    # Looking back finds the same graph, over each way.
    ran = await graph_of(person, created.id)
    assert (ran.id, ran.version, ran.name) == (graph_id, 0, draft.graph.name)
    assert [(item.id, item.input_default.json, item.metadata.json) for item in ran.nodes] == [
        (item.id, item.input_default.json, item.metadata.json) for item in draft.graph.nodes
    ]
    assert list(ran.links) == list(draft.graph.links)
    explained = await person.call("ExplainExecution", pb.ExplainExecutionRequest(execution_id=created.id, node_id="sum"))
    assert explained.nodes[0].firings[0].count == 1
    firings = await person.call("ListNodeExecutions", pb.ListNodeExecutionsRequest(execution_id=created.id))
    assert len(firings.node_executions) == 3
    assert len(await person.events(created.id, 100)) > 3
    listed = (await person.call("ListExecutions", pb.ListExecutionsRequest(graph_id=graph_id))).executions
    assert [item.graph_revision for item in listed] == [later.revision, "", draft.revision]


async def test_a_revision_is_kept_once_and_only_when_it_ran(api: Api, lab: Lab) -> None:
    person = await api.person()
    draft = await person.draft(adding(1))
    for amount in range(5):
        await person.draft(adding(amount + 2), draft.graph_id)
    assert await snapshots(lab, draft.graph_id) == []
    for _ in range(3):
        ran = await person.run_draft(draft.graph_id, X="1")
    # Away and back is the same content again.
    await person.draft(adding(50), draft.graph_id)
    await person.draft(adding(6), draft.graph_id)
    await person.run_draft(draft.graph_id, X="1")
    assert await snapshots(lab, draft.graph_id) == [f"{draft.graph_id}@{ran.graph_revision}"]


async def test_a_retry_goes_on_with_the_same_revision(api: Api, lab: Lab, touches: Touches) -> None:
    person = await api.person()
    draft = await person.draft(FAILING)
    async with lab.worker():
        first = await person.run_draft(draft.graph_id, X="7")
        await person.watch(first.id)
        mended = document(
            [node("in", INPUT, name="X"), node("touch", TOUCH), node("out", OUTPUT, name="R")],
            [link("in.result", "touch.value"), link("touch.value", "out.value")],
        )
        await person.draft(mended, draft.graph_id)
        again = await retry(person, first.id)
        assert (again.graph_revision, again.graph_version) == (draft.revision, 0)
        assert await result(person, again.id) == {}
        ended = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=again.id))).execution
        assert ended.stats.node_error_count == 1
    # What had succeeded was taken over.
    assert len(touches.firings()) == 1


async def test_agents_inside_a_draft_are_those_of_its_revision(api: Api, lab: Lab) -> None:
    person = await api.person()
    own = await person.save(adding(1000))
    inner = {"id": "inner", "version": 1}
    draft = await person.draft(calling("inner", sub_graphs=[adding(1, **inner)]))
    before = await person.run_draft(draft.graph_id, X="1")
    await person.draft(calling("inner", sub_graphs=[adding(2, **inner)]), draft.graph_id)
    after = await person.run_draft(draft.graph_id, X="1")
    await person.draft(calling(own, 0), draft.graph_id)
    of_own = await person.run_draft(draft.graph_id, X="1")
    await person.drop_draft(draft.graph_id)
    async with lab.worker():
        assert await result(person, before.id) == {"R": [2]}
        assert await result(person, after.id) == {"R": [3]}
        assert await result(person, of_own.id) == {"R": [1001]}
    (child,) = await children(person, before.id)
    assert [item.id for item in (await graph_of(person, child.id)).nodes] == ["in", "sum", "out"]
    again = await person.call("ExplainExecution", pb.ExplainExecutionRequest(execution_id=child.id, node_id="sum"))
    assert again.nodes[0].firings[0].count == 1


async def test_a_draft_that_is_another_by_now_is_not_run(api: Api, lab: Lab) -> None:
    person = await api.person()
    draft = await person.draft(adding(1))
    first = await person.run_draft(draft.graph_id, revision=draft.revision, X="1")
    assert first.graph_revision == draft.revision
    changed = await person.draft(adding(2), draft.graph_id)
    async with refused(grpc.StatusCode.ABORTED, "DRAFT_CHANGED") as details:
        await person.run_draft(draft.graph_id, revision=draft.revision, X="1")
    assert details["ErrorInfo"].metadata["graph_revision"] == changed.revision


async def test_a_repeated_request_gets_the_run_of_the_first(api: Api, lab: Lab) -> None:
    person = await api.person()
    draft, request_id = await person.draft(adding(1)), uuid7()
    first = await person.run_draft(draft.graph_id, request_id=request_id, X="1")
    await person.draft(adding(2), draft.graph_id)
    assert (await person.run_draft(draft.graph_id, request_id=request_id, X="1")).id == first.id
    await person.drop_draft(draft.graph_id)
    assert (await person.run_draft(draft.graph_id, request_id=request_id, X="1")).id == first.id
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED"):
        await person.call("CreateExecution", pb.CreateExecutionRequest(graph_id=draft.graph_id, request_id=request_id))


async def test_what_cannot_be_run_is_refused(api: Api, lab: Lab) -> None:
    person, other = await api.person(), await api.person()
    graph_id = await person.save(adding(1))
    async with refused(grpc.StatusCode.NOT_FOUND, "DRAFT_NOT_FOUND"):
        await person.run_draft(graph_id, X="1")
    broken = adding(1)
    broken["links"].append(link("in.result", "nowhere.value"))
    draft = await person.draft(broken, graph_id)
    assert [problem.field for problem in draft.problems] == ["links[2].sink_id"]
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "GRAPH_INVALID") as details:
        await person.run_draft(graph_id, X="1")
    assert [item.field for item in details["BadRequest"].field_violations] == ["graph.links[2].sink_id"]
    async with refused(grpc.StatusCode.NOT_FOUND, "DRAFT_NOT_FOUND"):
        await other.run_draft(graph_id, X="1")
    for wrong in ({"draft": True, "graph_version": 1}, {"graph_revision": draft.revision}):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INPUT_INVALID"):
            await person.call("CreateExecution", pb.CreateExecutionRequest(graph_id=graph_id, **wrong))
    ran = await person.create(graph_id, X="1")
    async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await graph_of(other, ran.id)
    assert (await graph_of(person, ran.id)).version == 1
