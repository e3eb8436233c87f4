"""Says what is wrong after the chaos: one line per violated rule, with the execution's id.

Rules: (a) one terminal event, the last. (b) `seq` is 1..n. (c) a firing ends once, an output is recorded once, a result follows its start.
(d) an effect is done iff the journal says so. (e) no worker holds anything. (f) nothing is left to be told or sent. (g) one execution per
request. (h) the row, the last event and the answer of the API agree. (i) the events follow the sequential model of the semantics.
(j) the outputs are those of the graph.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg

from mesh.ids import firing_id
from services.block.sdk import BlockRegistry
from services.execution.engine.plan import Plan
from tests.chaos.effects import Effects
from tests.chaos.load import Accepted
from tests.unit.execution.model import Attempt, Model

Event = dict[str, Any]

_TERMINAL = {f"EVENT_KIND_EXECUTION_{name}": name for name in ("COMPLETED", "FAILED", "TERMINATED")}
_ENDS = frozenset({"EVENT_KIND_NODE_COMPLETED", "EVENT_KIND_NODE_FAILED", "EVENT_KIND_NODE_TERMINATED"})
_LEFT = {
    "a worker holds it": "status = 'RUNNING' AND worker_id <> ''",
    "it has not ended": "end_time IS NULL",
    "its wake time is left": "wake_time IS NOT NULL",
    "its dead letter is left": "letter_due",
    "its parent is not told": "parent_id IS NOT NULL AND NOT parent_told",
}


def faults_of_run(run: Accepted, execution: dict[str, Any], events: list[Event], effects: Effects) -> Iterator[str]:
    """What is wrong with one execution, as the API shows it."""
    terminal = [event["kind"] for event in events if event["kind"] in _TERMINAL]
    if len(terminal) != 1 or events[-1]["kind"] not in _TERMINAL:
        yield f"(a) {len(terminal)} terminal events"
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        yield "(b) seq has a gap or a repeat"
    yield from _firings(events)
    yield from _effects(events, effects)
    if execution["last_seq"] != len(events) or execution["status"] != f"EXECUTION_STATUS_{_TERMINAL.get(terminal[-1] if terminal else '')}":
        yield f"(h) {execution['status']} at {execution['last_seq']} beside {len(events)} events that end {terminal}"
    if run.kind.is_modelled:
        yield from _follows_model(run, events)
    failed = ", ".join(f"{event['node_id']}: {event['error']}" for event in events if event["error"])
    yield from (f"{fault} [{failed}]" for fault in _outputs(run, execution))


def _firings(events: list[Event]) -> Iterator[str]:
    ends = Counter(event["node_execution_id"] for event in events if event["kind"] in _ENDS)
    outputs = Counter((event["node_execution_id"], event["ordinal"]) for event in events if event["kind"] == "EVENT_KIND_NODE_OUTPUT")
    for what, counts in (("firing ended", ends), ("output was recorded", outputs)):
        for key, count in counts.items():
            if count > 1:
                yield f"(c) a {what} {count} times: {key}"
    started: set[str] = set()
    for event in events:
        if event["kind"] == "EVENT_KIND_NODE_STARTED":
            started.add(event["node_execution_id"])
        elif event["kind"] in _ENDS | {"EVENT_KIND_NODE_OUTPUT"} and event["node_execution_id"] not in started:
            yield f"(c) {event['kind']} of a firing that never started: {event['node_execution_id']}"


def _effects(events: list[Event], effects: Effects) -> Iterator[str]:
    for event in events:
        if event["kind"] == "EVENT_KIND_NODE_COMPLETED" and event["node_id"] == "send" and not effects.asked[event["node_execution_id"]]:
            yield f"(d) the effect of {event['node_execution_id']} was recorded and not done"


def _follows_model(run: Accepted, events: list[Event]) -> Iterator[str]:
    """Lets the model take the same course and compares what it would have started with what was."""
    plan = Plan.compile(run.kind.graph, BlockRegistry.installed())
    model = Model(plan)
    namespace = UUID(run.execution_id).bytes

    def attempt_of(event: Event) -> Attempt | None:
        own = (attempt for attempt in model.attempts if attempt.node.id == event["node_id"])
        return next((a for nth, a in enumerate(own) if firing_id(namespace, a.node.id, nth) == event["node_execution_id"]), None)

    for event in events:
        if not event["node_id"]:
            continue
        attempt = attempt_of(event)
        if attempt is None or attempt.queued is None:
            yield f"(i) seq {event['seq']}: {event['kind']} of a firing that has no reason to be: {event['node_id']}"
            return
        if event["kind"] == "EVENT_KIND_NODE_STARTED":
            wrong = {pin: value for pin, value in attempt.rows.items() if event["value"].get(pin) != value}
            if wrong:
                yield f"(i) seq {event['seq']}: {event['node_id']} started with other values than {wrong}"
        elif event["kind"] == "EVENT_KIND_NODE_OUTPUT":
            model.emit(attempt, event["pin"], event["value"])
        elif event["kind"] in _ENDS:
            model.end(attempt)
    if events[-1]["kind"] == "EVENT_KIND_EXECUTION_COMPLETED":
        for attempt in model.queue:
            if not attempt.has_ended:
                yield f"(i) it completed although a firing of {attempt.node.id} had not ended"


def _outputs(run: Accepted, execution: dict[str, Any]) -> Iterator[str]:
    if run.is_cancelled and execution["status"] == "EXECUTION_STATUS_TERMINATED":
        return
    outputs = execution["outputs"].get("R", [])
    is_whole = outputs == run.kind.expected(run.x)
    if run.kind.may_be_cut_off and execution["outcome"] in {"EXECUTION_OUTCOME_COMPLETED_WITH_ERRORS", "EXECUTION_OUTCOME_NO_OUTPUT"}:
        return
    if not is_whole or execution["outcome"] != "EXECUTION_OUTCOME_SUCCEEDED":
        yield f"(j) {execution['outcome']} with {outputs}, not {run.kind.expected(run.x)}: {execution['error']}"


async def faults_of_rows(connection: "asyncpg.Connection[Any]", accepted: list[Accepted]) -> list[str]:
    """What is wrong with the tables as a whole."""
    found = []
    for what, condition in _LEFT.items():
        rows = await connection.fetch(f"SELECT id::text FROM execution.execution WHERE {condition}")  # noqa: S608 - our own conditions
        found += [f"{row[0]}: (e, f) {what}" for row in rows]
    rows = await connection.fetch("SELECT request_id, id::text FROM execution.execution WHERE request_id IS NOT NULL")
    made = {row[0]: row[1] for row in rows}
    if len(made) != len(rows):
        found.append("(g) two executions of one request")
    found += [
        f"{run.execution_id}: (g) its request made {made.get(run.request_id)}"
        for run in accepted
        if made.get(run.request_id) != run.execution_id
    ]
    gaps = """
        SELECT execution_id::text FROM (
            SELECT execution_id, seq, lag(seq + count, 1, 1) OVER (PARTITION BY execution_id ORDER BY seq) AS due
            FROM execution.execution_event
        ) rows WHERE seq <> due
    """
    found += [f"{row[0]}: (b) the journal has a gap" for row in await connection.fetch(gaps)]
    return found
