"""Why nodes fired as they did."""

from typing import Any

from services.execution.engine.dataflow import start
from services.execution.engine.explain import MAX_CHARS, NodeExplanation, explain_nodes
from services.execution.engine.state import State
from services.execution.engine.status import Status
from tests.unit.execution.graphs import EXECUTION_ID, Journal, plan


def run(nodes: dict[str, Any], links: list[str], *outputs: tuple[str, str, Any]) -> dict[str, NodeExplanation]:
    """Starting nodes emit `outputs` (node, pin, value) and complete; nothing else runs."""
    state = State(plan(nodes, links), EXECUTION_ID)
    begun = {firing.node.id: firing for firing in start(state, {})}
    journal = Journal(state)
    for firing in begun.values():
        journal.begin(firing)
    for node_id, pin, value in outputs:
        journal.emit(begun[node_id], pin, value)
    for firing in begun.values():
        journal.complete(firing)
    return {item.node_id: item for item in explain_nodes(state)}


READY = "ready, waiting for one of the places that the firings of a run have (max_parallel_nodes)"


def test_firings_that_have_not_started_are_told_apart_from_those_that_have() -> None:
    state = State(plan({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a"]), EXECUTION_ID)
    (x,) = start(state, {})
    before, _ = explain_nodes(state)
    assert before.summary == "It is ready to fire once: it starts with the run. Of its firings: 1 ready, waiting for the run to begin."
    journal = Journal(state)
    journal.begin(x)
    for number in range(3):
        ready = journal.emit(x, "out", number)
        if number < 2:
            journal.begin(ready[0])
    assert explain_nodes(state)[1].summary == (
        f"It fired 2 times, 1 more is ready: 3 values came to a. Of its firings: 1 {READY}, 2 at work."
    )


def test_behind_a_node_that_failed_its_error_is_told() -> None:
    state = State(plan({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a"]), EXECUTION_ID)
    (x,) = start(state, {})
    journal = Journal(state)
    journal.fail(journal.begin(x), "ValueError: broken")
    summary = explain_nodes(state)[1].summary
    assert summary == "It did not fire: no value came to a, since x failed (ValueError: broken) and gave nothing on out."


def test_behind_a_node_that_failed_at_times_it_is_told_how_often_and_the_first_error() -> None:
    nodes: dict[str, Any] = {"s": ("pass", {"a": 1}), "x": "pass", "p": "pass"}
    state = State(plan(nodes, ["s.out -> x.a", "x.out -> p.a"]), EXECUTION_ID)
    (s,) = start(state, {})
    journal = Journal(state)
    journal.begin(s)
    made = [journal.emit(s, "out", number)[0] for number in range(3)]
    journal.complete(journal.begin(made[0]))
    journal.fail(journal.begin(made[1]), "first")
    journal.fail(journal.begin(made[2]), "second")
    assert explain_nodes(state)[2].summary == (
        "It did not fire: no value came to a, since x fired 3 times, failed 2 times (first) and gave nothing on out."
    )


def test_a_node_that_fired_says_how_many_values_came() -> None:
    found = run({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a"], ("x", "out", 1), ("x", "out", 2))
    assert found["x"].summary == "It fired once: it starts with the run."
    assert found["p"].summary == f"It is ready to fire 2 times: 2 values came to a. Of its firings: 2 {READY}."
    assert found["p"].firings == {Status.QUEUED: 2}


def test_a_silent_pin_is_named_with_where_its_values_would_have_come_from() -> None:
    nodes = {"x": ("pass", {"a": 1}), "y": "pass", "p": "pair"}
    links = ["x.out -> p.a", "x.none -> y.a", "y.out -> p.b", "x.none -> p.b"]
    found = run(nodes, links, ("x", "out", 1))
    assert found["p"].summary.startswith(
        "It did not fire: no value came to b, since x fired once and gave nothing on none and since y did not fire."
    )
    (a, b) = found["p"].pins
    assert (a.received_count, a.waiting_count, a.waiting_values) == (1, 1, ["1"])
    assert [(source.node_id, source.firing_count, source.value_count) for source in b.sources] == [("x", 1, 0), ("y", 0, 0)]


def test_unequal_streams_are_told_apart() -> None:
    nodes = {"x": ("pass", {"a": 1}), "y": ("pass", {"a": 1}), "p": "pair"}
    found = run(nodes, ["x.out -> p.a", "y.out -> p.b"], ("x", "out", 1), ("x", "out", 2), ("y", "out", 3))
    assert found["p"].summary == (
        "It is ready to fire once: each firing takes a value from each linked pin, and there came 2 to a, 1 to b. "
        f"Of its firings: 1 {READY}, 1 not complete (no value arrived at b)."
    )


def test_a_value_that_does_not_fit_is_shown_with_the_reason() -> None:
    found = run({"x": ("pass", {"a": 1}), "n": ("number", {"a": 1})}, ["x.out -> n.items_$_word"], ("x", "out", 5))
    assert found["n"].pins[0].misfits == ["index must be an integer"]
    assert found["n"].summary.startswith("It did not fire: index must be an integer.")
    nulls = run({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a"], ("x", "out", None))
    assert nulls["p"].pins[0].misfits == ["a: null came, and a value is required"]


def test_a_partial_link_that_finds_nothing_counts_no_values() -> None:
    found = run({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out_#_key -> p.a"], ("x", "out", {"other": 1}))
    assert found["p"].pins[0].sources[0].value_count == 0


def test_static_pins_constants_and_long_values() -> None:
    nodes = {"x": ("pass", {"a": 1}), "k": ("keep", {"a": "v" * 500}), "p": "pair"}
    found = run(nodes, ["x.out -> p.a", "k.out -> p.b"], ("k", "out", 1), ("x", "out", 1), ("x", "out", 2))
    assert found["p"].pins[1].is_static
    assert "1 to b (kept for later firings)" in found["p"].summary
    assert len(found["k"].pins[0].constant) == MAX_CHARS + 1


def test_a_collect_and_a_remark() -> None:
    nodes = {"x": ("pass", {"a": 1}), "c": "gather", "n": ("remark", {"text": "t"})}
    found = run(nodes, ["x.out -> c.item"], ("x", "out", 1), ("x", "out", 2))
    assert found["c"].summary.startswith(
        "It is ready to fire once: 2 values came to item, and those that were new made a list each time that all before it was done."
    )
    assert found["c"].pins[0].received_count == 2
    assert found["n"].summary == "It is a remark and never runs."
