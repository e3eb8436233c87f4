"""The REST surface of executions that wait, fail and are explained, as text that people read: `tests/data/http/executions.md`.

After a wanted change write the file anew: `TREADLE_UPDATE_GOLDEN=1 pytest tests/integration/execution/test_api_rest.py`.
"""

from pathlib import Path

import httpx

from services.execution.engine.events import EventKind
from tests.integration.execution.api import Api
from tests.integration.execution.conftest import Lab
from tests.integration.execution.graphs import INPUT, OUTPUT, document, link, node
from tests.integration.execution.script import Script
from tests.integration.transcript import Transcript

GOLDEN = Path(__file__).parents[2] / "data" / "http" / "executions.md"
HUMAN = "8b2a7b3c-6e9d-4a5f-8c1b-2e3f4a5b6c7d"
GET_ITEM = "262ca24c-1025-43cf-a578-534e23234e97"
LONG = "long " * 20_000

# Asks about X twice, of which the second answer may not be edited, and takes an item of a list that is too short.
GRAPH = document(
    [
        node("in", INPUT, name="X"),
        node("check", HUMAN, name="Check the order"),
        node("refund", HUMAN, name="Refund?", editable=False),
        node("pick", GET_ITEM, list=["only"]),
        node("out", OUTPUT, name="R"),
    ],
    [
        link("in.result", "check.data"),
        link("in.result", "refund.data"),
        link("check.approved_data", "pick.index"),
        link("pick.item", "out.value"),
    ],
)


async def test_executions_look_as_recorded(api: Api, lab: Lab) -> None:
    person = await api.person()
    created = await person.create(await person.save(GRAPH), X="7")
    headers = {"authorization": f"Bearer {person.token}"}
    async with httpx.AsyncClient(base_url=f"http://{api.http_address}", headers=headers) as client:
        script = Transcript(client, "Executions over REST", (HUMAN, GET_ITEM, INPUT, OUTPUT))
        await tell(script, lab, created.id)
    script.compare(GOLDEN)


async def tell(call: Transcript, lab: Lab, execution_id: str) -> None:
    """The life of an execution, from the queue to its retry."""
    path = f"/v1/executions/{execution_id}"
    await call.call("It waits for a worker", "GET", path)
    await call.call("It cannot be retried yet", "POST", f"{path}:retry", {})
    script = await Script.of(lab, execution_id)
    script.run(("result", 7))
    asking = [script.start(), script.start()]
    for firing, question, is_editable in zip(asking, ("Check the order", "Refund?"), (True, False), strict=True):
        script.add(EventKind.NODE_REVIEW, firing, value={"message": question, "data": 7, "is_editable": is_editable})
    script.add(EventKind.EXECUTION_REVIEW)
    await script.commit(status="REVIEW")
    await call.call("It waits for a person", "GET", path)
    await call.call("What it asks", "GET", f"{path}/reviews?status=REVIEW_STATUS_PENDING&page_size=1")
    check, refund = asking[0].id, asking[1].id
    wrong = [{"node_execution_id": check, "approved": False, "auto_approve_future": True}]
    wrong.append({"node_execution_id": refund, "approved": True, "reviewed_data": 8})
    await call.call("Decisions that the reviews do not take", "POST", f"{path}/reviews", {"reviews": wrong})
    await call.call("An unknown review", "POST", f"{path}/reviews", {"reviews": [{"node_execution_id": "nobody", "approved": True}]})
    decision = {"node_execution_id": check, "approved": True, "message": "cheaper", "reviewed_data": LONG}
    await call.call("One is approved with other data", "POST", f"{path}/reviews", {"reviews": [decision]})
    await call.call("And cannot be taken back", "POST", f"{path}/reviews", {"reviews": [{"node_execution_id": check, "approved": False}]})
    await call.call("A firing that waits", "GET", f"{path}/node_executions?node_id=refund")
    script.add(EventKind.EXECUTION_RESUMED)
    answer = {"approved": True, "data": LONG, "message": "cheaper", "auto_approve_future": False}
    script.add(EventKind.NODE_RESUMED, asking[0], value=answer)
    script.add(EventKind.NODE_OUTPUT, asking[0], pin="approved_data", value=LONG)
    script.add(EventKind.NODE_COMPLETED, asking[0])
    script.add(EventKind.EXECUTION_TERMINATED)
    await script.commit(status="TERMINATED")
    events = await call.call("The last events, a large value apart", "GET", f"{path}/events?before_seq=100&page_size=3")
    await call.call("The value", "GET", f"{path}/values/{events['events'][0]['value_ref']['sha256']}")
    await call.call("A value that is not there", "GET", f"{path}/values/{'0' * 64}")
    await call.call("A hash that is none", "GET", f"{path}/values/abc")
    await call.call("Too late to decide", "POST", f"{path}/reviews", {"reviews": [{"node_execution_id": refund, "approved": True}]})
    await call.call("Why a node fired as it did", "GET", f"{path}:explain?node_id=pick")
    await call.call("A node that is not there", "GET", f"{path}:explain?node_id=nowhere")
    await call.call("It is retried", "POST", f"{path}:retry", {"dry_run": True})
