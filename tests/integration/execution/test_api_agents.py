"""Nested agents as callers see them: what is kept when an execution is accepted, what runs, and where it ends."""

from typing import Any

import grpc
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import jsontext
from services.execution.repository.executions import LIST_CHILDREN
from tests.integration.execution.api import Api, Person, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import CALCULATOR, INPUT, OUTPUT, chain, document, link, node

AGENT = "e189baac-8c20-45a1-94a7-55177ea42565"


def calling(graph_id: str, agent_version: int = 1, **more: Any) -> dict[str, Any]:
    """Hands its input X to another agent's X, and that agent's R on as R; the error pin as E."""
    schema = {"type": "object", "properties": {"X": {}}, "required": []}
    constants = {"graph_id": graph_id, "graph_version": agent_version, "user_id": "", "inputs": {}, "input_schema": schema}
    constants["output_schema"] = {"type": "object", "properties": {"R": {}, "error": {}}}
    nodes = [node("in", INPUT, name="X"), node("agent", AGENT, **constants)]
    nodes += [node("out", OUTPUT, name="R"), node("bad", OUTPUT, name="E")]
    links = [link("in.result", "agent.X"), link("agent.R", "out.value"), link("agent.error", "bad.value")]
    return {**document(nodes, links), **more}


def adding(amount: int, **more: Any) -> dict[str, Any]:
    """Adds to X."""
    nodes = [node("in", INPUT, name="X"), node("sum", CALCULATOR, operation="Add", b=amount), node("out", OUTPUT, name="R")]
    return {**document(nodes, [link("in.result", "sum.a"), link("sum.result", "out.value")]), **more}


async def result(person: Person, execution_id: str) -> dict[str, Any]:
    """The outputs once it has ended."""
    await person.watch(execution_id)
    execution = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=execution_id))).execution
    return {name: jsontext.loads(value.json) for name, value in execution.outputs.items()}


async def children(person: Person, execution_id: str) -> list[pb.Execution]:
    """The executions that one has started, newest first."""
    answer = await person.call("ListExecutions", pb.ListExecutionsRequest(parent_id=execution_id))
    return list(answer.executions)


async def test_an_agent_runs_agents_through_several_layers(api: Api, lab: Lab) -> None:
    person = await api.person()
    inner = await person.save(adding(1))
    middle = await person.save(calling(inner))
    top = await person.save(calling(middle))
    async with lab.worker():
        created = await person.create(top, X="1")
        assert await result(person, created.id) == {"R": [2]}
    (child,) = await children(person, created.id)
    (grandchild,) = await children(person, child.id)
    assert (child.graph_id, child.root_id, child.depth) == (middle, created.id, 1)
    assert (grandchild.graph_id, grandchild.root_id, grandchild.depth) == (inner, created.id, 2)
    events = await person.events(created.id, 1000)
    (waiting,) = [event for event in events if event.kind == pb.EVENT_KIND_NODE_WAITING]
    assert jsontext.loads(waiting.value.json) == {"for": "child", "execution_id": child.id}
    assert waiting.node_execution_id == child.parent_node_execution_id
    assert await lab.pool.fetchval("SELECT tree_count FROM execution WHERE id = $1", created.id) == 3


async def test_an_embedded_agent_is_never_taken_for_another_of_that_id(api: Api, lab: Lab) -> None:
    """Its id is whatever its author says."""
    victim, other = await api.person(), await api.person()
    graph_id = await victim.save(adding(1))
    embedding = calling(graph_id, 1, sub_graphs=[adding(100, id=graph_id, version=1)])
    async with lab.worker():
        theirs = await other.create(await other.save(embedding), X="1")
        assert await result(other, theirs.id) == {"R": [101]}
        own = await victim.create(graph_id, X="1")
        assert await result(victim, own.id) == {"R": [2]}
        # Also for someone who has both: what is embedded wins inside, and only there.
        both = await victim.create(await victim.save(embedding), X="1")
        assert await result(victim, both.id) == {"R": [101]}
        called = await victim.create(await victim.save(calling(graph_id)), X="1")
        assert await result(victim, called.id) == {"R": [2]}


async def test_an_embedded_agent_calls_what_is_embedded_beside_it(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph = calling("a", 1, sub_graphs=[calling("b", 2, id="a", version=1), adding(7, id="b", version=2)])
    async with lab.worker():
        created = await person.create(await person.save(graph), X="1")
        assert await result(person, created.id) == {"R": [8]}


async def test_an_agent_that_is_not_there_is_a_problem_of_the_graph(api: Api, lab: Lab) -> None:
    person, other = await api.person(), await api.person()
    foreign = await other.save(adding(1))
    graph_id = await person.save(calling(foreign))
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "GRAPH_INVALID") as details:
        await person.create(graph_id, X="1")
    (problem,) = details["BadRequest"].field_violations
    assert (problem.field, problem.description) == ("nodes.agent.graph_id", f"there is no agent {foreign}")
    nested = await person.save(calling(graph_id))
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "GRAPH_INVALID") as details:
        await person.create(nested, X="1")
    (problem,) = details["BadRequest"].field_violations
    assert problem.description == f"there is no agent {foreign}, which the agent {graph_id} runs"


async def test_agents_that_call_each_other_without_end_stop_at_the_depth(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph = calling("self", 1, sub_graphs=[calling("self", 1, id="self", version=1)])
    async with lab.worker(max_depth=3):
        created = await person.create(await person.save(graph), X="1")
        await person.watch(created.id)
    executions = (await person.call("ListExecutions", pb.ListExecutionsRequest(page_size=100))).executions
    assert sorted(execution.depth for execution in executions) == [0, 1, 2, 3]
    deepest = max(executions, key=lambda execution: execution.depth)
    events = await person.events(deepest.id, 1000)
    assert [event.error for event in events if event.kind == pb.EVENT_KIND_NODE_FAILED] == ["agents run each other more than 3 deep"]


async def test_a_tree_has_no_more_executions_than_it_may(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph = calling("self", 1, sub_graphs=[calling("self", 1, id="self", version=1)])
    async with lab.worker(max_tree_executions=2):
        created = await person.create(await person.save(graph), X="1")
        await person.watch(created.id)
    executions = (await person.call("ListExecutions", pb.ListExecutionsRequest(page_size=100))).executions
    assert len(executions) == 2
    events = await person.events((await children(person, created.id))[0].id, 1000)
    errors = [event.error for event in events if event.kind == pb.EVENT_KIND_NODE_FAILED]
    assert errors == ["agents ran each other more than 2 times in one execution"]


async def test_inputs_that_an_agent_cannot_take_come_out_of_the_error_pin(api: Api, lab: Lab) -> None:
    person = await api.person()
    # Nothing links to n0's pin `a` any more, and it has no constant: this agent cannot run.
    broken = chain(1)
    broken["links"] = [item for item in broken["links"] if item["sink_id"] != "n0"]
    async with lab.worker():
        created = await person.create(await person.save(calling(await person.save(broken))), X="1")
        (error,) = (await result(person, created.id))["E"]
    assert error == "the agent cannot run: n0 a: This field is required"
    assert await children(person, created.id) == []


async def test_children_of_nobody_are_no_children(api: Api, lab: Lab) -> None:
    person = await api.person()
    await person.create(await person.save(chain(1)), X="1")
    assert await children(person, "nonsense") == []
    assert await children(person, "00000000-0000-7000-8000-000000000000") == []


async def test_version_0_of_an_agent_is_the_one_active_when_the_root_was_created(api: Api, lab: Lab) -> None:
    person = await api.person()
    agent = await person.save(adding(1))
    middle = await person.save(calling(agent, 0))
    top = await person.save(calling(middle, 0))
    first = await person.create(top, X="1")
    await person.replace(agent, adding(10))
    second = await person.create(top, X="1")
    await person.activate(agent, 1)
    third = await person.create(top, X="1")
    async with lab.worker():
        assert [await result(person, run.id) for run in (first, second, third)] == [{"R": [2]}, {"R": [11]}, {"R": [2]}]


async def test_an_agent_that_was_deleted_is_refused_the_next_time(api: Api, lab: Lab) -> None:
    person = await api.person()
    agent = await person.save(adding(1))
    top = await person.save(calling(agent, 0))
    before = await person.create(top, X="1")
    await person.delete(agent)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "GRAPH_INVALID") as details:
        await person.create(top, X="1")
    (problem,) = details["BadRequest"].field_violations
    assert (problem.field, problem.description) == ("nodes.agent.graph_id", f"there is no agent {agent}")
    async with lab.worker():
        # What was accepted before runs all the same.
        assert await result(person, before.id) == {"R": [2]}


async def test_children_are_found_by_an_index_when_they_have_ended_too(lab: Lab) -> None:
    async with lab.pool.acquire() as connection:
        change = connection.transaction()
        await change.start()
        # As in a large table. In a small one the index of owners may seem as good; without it, only that of children is left.
        await connection.execute("SET LOCAL lock_timeout = '10s'; SET LOCAL enable_seqscan = off; DROP INDEX execution_of_owner")
        await connection.execute(f"PREPARE children AS {LIST_CHILDREN}")
        call = "EXECUTE children('', '', '', NULL, '00000000-0000-0000-0000-000000000000', 10, '00000000-0000-0000-0000-000000000000')"
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {call}"))
        await change.rollback()
        await connection.execute("DEALLOCATE children")
    assert "execution_children" in plan, plan
