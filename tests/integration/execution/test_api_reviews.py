"""Reviews: what a person is asked, and how the answers are taken."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import jsontext
from services.execution.engine.events import EventKind
from services.execution.engine.state import Firing
from services.execution.engine.waits import interruption_value, timer_value
from tests.integration.execution.api import Api, Person, refused
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, document, link, node
from tests.integration.execution.script import Script

HUMAN = "8b2a7b3c-6e9d-4a5f-8c1b-2e3f4a5b6c7d"
PENDING, APPROVED, REJECTED, CLOSED = (
    pb.REVIEW_STATUS_PENDING,
    pb.REVIEW_STATUS_APPROVED,
    pb.REVIEW_STATUS_REJECTED,
    pb.REVIEW_STATUS_CLOSED,
)


class Asking:
    """A parked run with two open reviews: the first may be edited, the second not, and its firing had waited for a time before."""

    def __init__(self, person: Person, script: Script, firings: list[Firing]) -> None:
        self.person = person
        self.script = script
        self.id = script.execution_id
        self.firings = firings

    async def reviews(self, **request: Any) -> list[pb.Review]:
        """All reviews."""
        answer = await self.person.call("ListExecutionReviews", pb.ListExecutionReviewsRequest(execution_id=self.id, **request))
        return list(answer.reviews)

    def decision(self, at: int, *, approved: bool = True, data: Any = None, **more: Any) -> pb.ReviewDecision:
        """A decision on one of the two."""
        decision = pb.ReviewDecision(node_execution_id=self.firings[at].id, approved=approved, **more)
        if data is not None:
            decision.reviewed_data.json = jsontext.dumps(data)
        return decision

    async def decide(self, *decisions: pb.ReviewDecision) -> list[pb.Review]:
        """Decides."""
        answer = await self.person.call("DecideExecutionReviews", pb.DecideExecutionReviewsRequest(execution_id=self.id, reviews=decisions))
        return list(answer.reviews)


async def asking(api: Api, lab: Lab, data: Any = None) -> Asking:
    """Such a run."""
    person = await api.person()
    nodes = [node("in", INPUT, name="X"), node("ask0", HUMAN, name="Order"), node("ask1", HUMAN, name="Refund", editable=False)]
    graph_id = await person.save(document(nodes, [link("in.result", "ask0.data"), link("in.result", "ask1.data")]))
    created = await person.create(graph_id, X=jsontext.dumps(data or {"total": 3}))
    script = await Script.of(lab, created.id)
    script.run(("result", data or {"total": 3}))
    first, second = script.start(), script.start()
    script.add(EventKind.NODE_WAITING, second, value=timer_value(1))
    script.add(EventKind.NODE_RESUMED, second)
    for firing, name, is_editable in ((first, "Order", True), (second, "Refund", False)):
        value = {"message": name, "data": firing.inputs["data"], "is_editable": is_editable}
        script.add(EventKind.NODE_REVIEW, firing, value=value)
    script.add(EventKind.EXECUTION_REVIEW)
    await script.commit(status="REVIEW")
    return Asking(person, script, [first, second])


async def signals(lab: Lab, execution_id: str) -> list[tuple[int, int, Any]]:
    """The answers that the worker will read."""
    rows = await lab.pool.fetch("SELECT firing, wait, answer FROM execution_signal WHERE execution_id = $1 ORDER BY firing", execution_id)
    return [(row[0], row[1], jsontext.loads(row[2])) for row in rows]


async def test_open_reviews_are_listed_in_the_order_they_were_asked(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    first, second = await run.reviews()
    assert (first.node_id, first.message, first.is_editable, first.status) == ("ask0", "Order", True, PENDING)
    assert (first.node_execution_id, first.data.json, first.ordinal) == (run.firings[0].id, '{"total":3}', 0)
    assert (second.node_id, second.is_editable, second.ordinal) == ("ask1", False, 1)
    assert first.create_time.seconds > 0
    assert not first.HasField("decide_time")
    assert await run.reviews(status=APPROVED) == []
    assert await run.reviews(page_size=1) == [first]
    execution = (await run.person.call("GetExecution", pb.GetExecutionRequest(execution_id=run.id))).execution
    assert execution.wait_reason == "a person has to decide: see its reviews"


async def test_reviews_say_who_asks(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    run.script.add(EventKind.NODE_RESUMED, run.firings[1], value={"approved": True, "data": 1, "message": ""})
    run.script.add(EventKind.NODE_REVIEW, run.firings[1], value=interruption_value("Again?"))
    await run.script.commit(status="REVIEW")
    found = [(review.message, review.cause) for review in await run.reviews()]
    assert found == [("Order", pb.REVIEW_CAUSE_BLOCK), ("Refund", pb.REVIEW_CAUSE_BLOCK), ("Again?", pb.REVIEW_CAUSE_INTERRUPTED)]


async def test_a_decision_reaches_the_worker_with_the_data_and_wakes_the_run(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    (decided,) = await run.decide(run.decision(0, data={"total": 4}, message="fixed", auto_approve_future=True))
    assert (decided.status, decided.decision_message, decided.reviewed_data.json) == (APPROVED, "fixed", '{"total":4}')
    assert (decided.auto_approve_future, decided.is_automatic) == (True, False)
    answer = {"approved": True, "data": {"total": 4}, "message": "fixed", "auto_approve_future": True}
    assert await signals(lab, run.id) == [(run.firings[0].index, 0, answer)]
    row = await lab.pool.fetchrow("SELECT signals, wake_time <= now() AS is_due FROM execution WHERE id = $1", run.id)
    assert row is not None
    assert (row["signals"], row["is_due"]) == (1, True)
    (rejected,) = await run.decide(run.decision(1, approved=False))
    assert (rejected.status, rejected.reviewed_data.json) == (REJECTED, '{"total":3}')
    assert (await signals(lab, run.id))[1][:2] == (run.firings[1].index, 1)


async def test_a_run_at_work_takes_decisions_too(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    await lab.pool.execute("UPDATE execution SET status = 'RUNNING', worker_id = 'someone' WHERE id = $1", run.id)
    await run.decide(run.decision(0), run.decision(1))
    assert len(await signals(lab, run.id)) == 2
    assert await lab.pool.fetchval("SELECT signals FROM execution WHERE id = $1", run.id) == 2


async def test_repeating_a_decision_changes_nothing_and_another_is_refused(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    first = await run.decide(run.decision(0, message="yes"))
    assert await run.decide(run.decision(0, message="yes")) == first
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "REVIEW_DECIDED"):
        await run.decide(run.decision(0, approved=False))
    # All or none: the open one is not decided along with the other.
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "REVIEW_DECIDED"):
        await run.decide(run.decision(1), run.decision(0, message="no"))
    assert len(await signals(lab, run.id)) == 1
    assert await lab.pool.fetchval("SELECT signals FROM execution WHERE id = $1", run.id) == 1


async def test_of_two_decisions_at_once_one_holds_whole(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    answers = await asyncio.gather(
        *(run.decide(run.decision(0, message=str(at)), run.decision(1, message=str(at))) for at in range(6)), return_exceptions=True
    )
    errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {error.code() for error in errors} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert len(errors) == 5
    assert len({answer["message"] for _, _, answer in await signals(lab, run.id)}) == 1


async def test_what_a_review_does_not_take_is_refused_with_every_problem(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "REVIEW_INVALID") as details:
        await run.decide(run.decision(0), run.decision(1, data={"total": 0}), run.decision(0, approved=False, auto_approve_future=True))
    assert [item.field for item in details["BadRequest"].field_violations] == [
        "reviews[1].reviewed_data",
        "reviews[2].auto_approve_future",
        "reviews[2].node_execution_id",
    ]
    assert await signals(lab, run.id) == []
    async with refused(grpc.StatusCode.NOT_FOUND, "REVIEW_NOT_FOUND"):
        await run.decide(run.decision(0), pb.ReviewDecision(node_execution_id="nobody", approved=True))
    other = await api.person()
    async with refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"):
        await other.call("DecideExecutionReviews", pb.DecideExecutionReviewsRequest(execution_id=run.id, reviews=[run.decision(0)]))
    assert await signals(lab, run.id) == []


async def test_reviews_of_an_ended_run_are_closed_and_show_what_was_decided(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    await run.decide(run.decision(0, data=[1], message="ok"))
    answer = (await signals(lab, run.id))[0][2]
    run.script.add(EventKind.EXECUTION_RESUMED)
    run.script.add(EventKind.NODE_RESUMED, run.firings[0], value=answer)
    run.script.add(EventKind.EXECUTION_TERMINATED)
    await run.script.commit(status="TERMINATED")
    decided, closed = await run.reviews()
    assert (decided.status, decided.reviewed_data.json, decided.decision_message) == (APPROVED, "[1]", "ok")
    assert decided.HasField("decide_time")
    assert (closed.status, closed.HasField("reviewed_data")) == (CLOSED, False)
    assert await run.decide(run.decision(0, data=[1], message="ok")) == [decided]
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "EXECUTION_ENDED"):
        await run.decide(run.decision(1))


async def test_large_data_comes_whole_and_goes_back_unless_edited(api: Api, lab: Lab) -> None:
    data = {"text": "ü" * 50_000, "big": 2**70}
    run = await asking(api, lab, data)
    (first, _) = await run.reviews()
    assert first.data.json == jsontext.dumps(data)
    await run.decide(run.decision(0))
    assert (await signals(lab, run.id))[0][2]["data"] == data


@pytest.mark.parametrize("kind", [pb.EVENT_KIND_NODE_REVIEW, pb.EVENT_KIND_NODE_WAITING, pb.EVENT_KIND_NODE_RESUMED])
async def test_events_of_waits_carry_their_values(api: Api, lab: Lab, kind: "pb.EventKind.ValueType") -> None:
    run = await asking(api, lab)
    events = [event for event in await run.person.events(run.id, 1000) if event.kind == kind]
    assert events
    assert all(event.HasField("value") and event.node_execution_id for event in events)


async def test_a_waiting_firing_says_what_for(api: Api, lab: Lab) -> None:
    run = await asking(api, lab)
    answer = await run.person.call("ListNodeExecutions", pb.ListNodeExecutionsRequest(execution_id=run.id, node_id="ask0"))
    (firing,) = answer.node_executions
    assert (firing.status, firing.wait.kind) == (pb.EXECUTION_STATUS_REVIEW, pb.WAIT_KIND_REVIEW)
