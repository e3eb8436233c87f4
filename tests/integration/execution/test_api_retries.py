"""Retries: what may be run again, and what the new execution takes over."""

import grpc
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh.ids import uuid7
from services.execution.engine.events import EventKind
from tests.integration.execution.api import Api, Person, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, OUTPUT, TOUCH, chain, document, link, node
from tests.integration.execution.script import Script
from tests.integration.execution.test_api_agents import calling, children
from tests.integration.execution.touch import Touches

GET_ITEM = "262ca24c-1025-43cf-a578-534e23234e97"
# Touches a file and then always fails.
FAILING = document(
    [node("in", INPUT, name="X"), node("touch", TOUCH), node("get", GET_ITEM, list=[], index=5), node("out", OUTPUT, name="R")],
    [link("in.result", "touch.value"), link("touch.value", "get.index"), link("get.item", "out.value")],
)


async def retry(person: Person, execution_id: str, **more: object) -> pb.Execution:
    """Retries an execution."""
    request = pb.RetryExecutionRequest(execution_id=execution_id, **more)  # type: ignore[arg-type]
    execution: pb.Execution = (await person.call("RetryExecution", request)).execution
    return execution


async def failed(person: Person, lab: Lab, dry_run: bool = False) -> str:
    """An execution that has failed without a worker."""
    request = pb.CreateExecutionRequest(graph_id=await person.save(chain(2)), inputs={}, dry_run=dry_run, timezone="Asia/Tokyo")
    created = (await person.call("CreateExecution", request)).execution
    script = await Script.of(lab, created.id)
    script.add(EventKind.EXECUTION_FAILED)
    await script.commit(status="FAILED")
    return str(created.id)


async def test_a_retry_is_a_new_execution_of_the_same(api: Api, lab: Lab) -> None:
    person = await api.person()
    old = await failed(person, lab)
    new = await retry(person, old)
    before = (await person.call("GetExecution", pb.GetExecutionRequest(execution_id=old))).execution
    assert new.id != old
    assert (new.retry_of, new.status, new.dry_run) == (old, pb.EXECUTION_STATUS_QUEUED, False)
    assert (new.graph_id, new.graph_version, new.inputs, new.timezone) == (
        before.graph_id,
        before.graph_version,
        before.inputs,
        "Asia/Tokyo",
    )
    assert await lab.pool.fetchval("SELECT retry_of::text FROM execution WHERE id = $1", new.id) == old


async def test_a_retry_repeated_with_its_request_id_is_the_same(api: Api, lab: Lab) -> None:
    person = await api.person()
    old, request_id = await failed(person, lab), uuid7()
    new = await retry(person, old, request_id=request_id)
    assert (await retry(person, old, request_id=request_id)).id == new.id
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED"):
        await retry(person, old, request_id=request_id, dry_run=True)


async def test_the_retry_of_a_dry_run_is_dry(api: Api, lab: Lab) -> None:
    person = await api.person()
    assert (await retry(person, await failed(person, lab), dry_run=True)).dry_run
    assert (await retry(person, await failed(person, lab, dry_run=True))).dry_run


async def test_only_what_ended_short_of_its_end_is_retried(api: Api, lab: Lab) -> None:
    person, other = await api.person(), await api.person()
    created = await person.create(await person.save(chain(1)), X="1")
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "EXECUTION_NOT_ENDED"):
        await retry(person, created.id)
    async with lab.worker():
        await person.watch(created.id)
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "NOTHING_TO_RETRY"):
        await retry(person, created.id)
    async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await retry(other, created.id)


async def test_a_retry_does_not_repeat_what_was_done(api: Api, lab: Lab, touches: Touches) -> None:
    person = await api.person()
    async with lab.worker():
        created = await person.create(await person.save(FAILING), X="1")
        await person.watch(created.id)
        assert len(touches.firings()) == 1
        new = await retry(person, created.id)
        events = await person.watch(new.id)
    assert len(touches.firings()) == 1
    given = [event.value.json for event in events if event.kind == pb.EVENT_KIND_NODE_OUTPUT and event.node_id == "touch"]
    assert given == ["1"]
    assert [event.node_id for event in events if event.kind == pb.EVENT_KIND_NODE_FAILED] == ["get"]


async def test_a_retry_looks_into_nested_agents_and_repeats_nothing_there(api: Api, lab: Lab, touches: Touches) -> None:
    person = await api.person()
    middle = await person.save(calling(await person.save(FAILING), 0))
    async with lab.worker():
        created = await person.create(await person.save(calling(middle, 0)), X="1")
        await person.watch(created.id)
        assert len(touches.firings()) == 1
        # The parent's own firings have all completed: what failed is two levels below.
        new = await retry(person, created.id)
        await person.watch(new.id)
    assert len(touches.firings()) == 1
    (old_child,), (child,) = await children(person, created.id), await children(person, new.id)
    (old_inner,), (inner,) = await children(person, old_child.id), await children(person, child.id)
    assert (child.retry_of, inner.retry_of) == (old_child.id, old_inner.id)
    given = [event.value.json for event in await person.events(inner.id, 1000) if event.node_id == "touch" and event.pin == "value"]
    assert given == ["1"]
