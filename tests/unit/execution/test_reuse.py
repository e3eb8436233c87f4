"""What a run takes over from an earlier one."""

from typing import Any

from services.execution.engine.dataflow import start
from services.execution.engine.events import EventKind
from services.execution.engine.reuse import Memo
from services.execution.engine.state import State
from services.execution.engine.waits import child_value
from tests.unit.execution.graphs import EXECUTION_ID, Journal, plan

NODES: dict[str, Any] = {"x": ("pass", {"a": 1}), "p": "pass"}
LINKS = ["x.out -> p.a"]


def test_completed_firings_are_used_once_each_by_node_and_inputs_in_order() -> None:
    state = State(plan(NODES, LINKS), EXECUTION_ID)
    (x,) = start(state, {})
    journal = Journal(state)
    journal.begin(x)
    made = [*journal.emit(x, "out", {"k": 1, "j": 2}), *journal.emit(x, "out", {"j": 2, "k": 1}), *journal.emit(x, "out", 7)]
    journal.complete(x)
    for at, firing in enumerate(made):
        journal.begin(firing)
        journal.emit(firing, "out", at)
        if at < 2:
            journal.complete(firing)
        else:
            journal.fail(firing, "broken")
    memo = Memo.of(state)

    again = State(state.plan, "0199c0de-0000-7000-8000-000000000002")
    (y,) = start(again, {})
    other = Journal(again)
    other.begin(y)
    assert memo.outputs_of(y) == [("out", {"k": 1, "j": 2}), ("out", {"j": 2, "k": 1}), ("out", 7)]
    ready = [firing for pin, value in memo.outputs_of(y) or () for firing in other.emit(y, pin, value)]
    assert [memo.outputs_of(firing) for firing in ready] == [[("out", 0)], [("out", 1)], None]
    # The same answer again, as a replay asks for it.
    assert [memo.outputs_of(firing) for firing in ready] == [[("out", 0)], [("out", 1)], None]


def test_a_firing_whose_child_run_had_failures_is_not_taken_over() -> None:
    found = []
    for errors in (0, 1):
        state = State(plan(NODES, LINKS), EXECUTION_ID)
        (x,) = start(state, {})
        journal = Journal(state)
        journal.begin(x)
        journal.write(EventKind.NODE_WAITING, x, value=child_value("c"))
        journal.write(EventKind.NODE_RESUMED, x, value={"execution_id": "c", "node_count": 3, "node_error_count": errors})
        journal.complete(x)
        found.append(Memo.of(state).outputs_of(x))
    assert found == [[], None]
