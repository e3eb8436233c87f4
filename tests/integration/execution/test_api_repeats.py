"""Calls that come again, and positions that are out of this world: sound answers, never faults."""

import time

import grpc
import pytest
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.ids import uuid7
from mesh.paging import offset_token, turn_token
from tests.integration.execution.api import Api, Person, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import chain

GREATEST = 2**31 - 1


async def seqs(person: Person, **position: object) -> list[int]:
    """The seqs of a page of events."""
    request = pb.ListExecutionEventsRequest(**position)  # type: ignore[arg-type]
    return [event.seq for event in (await person.call("ListExecutionEvents", request)).events]


async def test_a_position_behind_every_event_is_the_end(api: Api, lab: Lab) -> None:
    person = await api.person()
    queued = (await person.create(await person.save(chain(2)), X="1")).id
    ended = (await person.create(await person.save(chain(2)), X="1")).id
    # The first stays queued: it is another's.
    await lab.pool.execute("UPDATE execution SET wake_time = NULL, status = 'REVIEW' WHERE id = $1", queued)
    async with lab.worker():
        last = (await person.watch(ended))[-1].seq
    for execution_id in (queued, ended):
        for after_seq in (GREATEST, GREATEST - 1):
            assert await seqs(person, execution_id=execution_id, after_seq=after_seq) == []
            assert await seqs(person, execution_id=execution_id, after_seq=after_seq, page_size=1000) == []
        assert await seqs(person, execution_id=execution_id, page_token=turn_token(GREATEST, 0)) == []
        assert await seqs(person, execution_id=execution_id, before_seq=GREATEST, after_seq=GREATEST) == []
    assert await seqs(person, execution_id=ended, before_seq=GREATEST, page_size=1) == [last]
    assert await seqs(person, execution_id=ended, before_seq=5, page_token=turn_token(0, GREATEST), page_size=1) == [last]
    assert await person.watch(ended, GREATEST) == []
    nodes = pb.ListNodeExecutionsRequest(execution_id=ended, page_token=offset_token(GREATEST))
    assert list((await person.call("ListNodeExecutions", nodes)).node_executions) == []
    reviews = pb.ListExecutionReviewsRequest(execution_id=ended, page_token=offset_token(GREATEST))
    assert list((await person.call("ListExecutionReviews", reviews)).reviews) == []


async def test_a_watcher_from_behind_every_event_leaves_when_the_run_ends(api: Api, lab: Lab) -> None:
    person = await api.person()
    execution_id = (await person.create(await person.save(chain(2)), X="1")).id
    async with lab.worker():
        assert await person.watch(execution_id, GREATEST) == []
    assert await lab.pool.fetchval("SELECT status FROM execution WHERE id = $1", execution_id) == "COMPLETED"


@pytest.mark.parametrize("change", ["deleted", "replaced"])
async def test_a_repeat_gives_the_first_execution_whatever_became_of_the_graph(api: Api, lab: Lab, change: str) -> None:
    person = await api.person()
    graph_id, request_id = await person.save(chain(1)), uuid7()
    first = await person.create(graph_id, request_id=request_id, X="1")
    if change == "deleted":
        await person.delete(graph_id)
    else:
        await person.replace(graph_id, chain(3))
    assert (await person.create(graph_id, request_id=request_id, X="1")).id == first.id
    assert (await person.create(graph_id, request_id=request_id.upper(), X="1")).id == first.id
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED"):
        await person.create(graph_id, request_id=request_id, X="2")
    if change == "deleted":
        async with refused(grpc.StatusCode.NOT_FOUND, "GRAPH_NOT_FOUND"):
            await person.create(graph_id, request_id=uuid7(), X="1")


async def test_masks_without_effect_are_refused_by_name(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id = await person.save(chain(1))
    masks = {"in": JsonValue(json='{"title":"X","zork":1}'), "nobody": JsonValue(json="{}")}
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "INPUT_INVALID") as details:
        await person.call("CreateExecution", pb.CreateExecutionRequest(graph_id=graph_id, input_masks=masks))
    fields = {item.field for item in details["BadRequest"].field_violations}
    assert fields == {"input_masks.in.zork", "input_masks.nobody"}


async def test_a_database_that_hangs_is_said_to_be_away_before_the_callers_time_is_over(api: Api, lab: Lab) -> None:
    person = await api.person()
    graph_id = await person.save(chain(1))
    await person.create(graph_id, X="1")
    async with lab.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE execution IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        async with refused(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE") as details:
            await person.create(graph_id, X="1")
        assert time.monotonic() - began < 8
        assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0
    await person.create(graph_id, X="1")
