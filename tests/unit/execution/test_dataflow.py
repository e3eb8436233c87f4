"""The rules of the dataflow, one by one."""

from typing import Any
from uuid import UUID, uuid5

import pytest

from mesh.errors import InvalidArgumentError
from services.execution.engine.dataflow import explain, start
from services.execution.engine.events import EventKind
from services.execution.engine.state import Firing, JournalError, State
from services.execution.engine.status import IllegalTransitionError, Status
from tests.unit.execution.graphs import EXECUTION_ID, Journal, plan


def _inputs(firings: list[Firing]) -> list[tuple[str, dict[str, Any]]]:
    return [(firing.node.id, dict(firing.inputs)) for firing in firings]


def _run(nodes: dict[str, Any], links: list[str], inputs: Any = None, masks: Any = None) -> tuple[Journal, list[Firing]]:
    state = State(plan(nodes, links), EXECUTION_ID, masks)
    ready = start(state, inputs or {})
    journal = Journal(state)
    return journal, [journal.begin(firing) for firing in ready]


def test_starting_nodes_start_in_listing_order() -> None:
    journal, started = _run({"z": ("pass", {"a": 1}), "n": "remark", "a": ("pass", {"a": 2}), "sink": "pass"}, ["z.out -> sink.a"])
    assert [firing.node.id for firing in started] == ["z", "a"]
    assert journal.state.open_count == 2


def test_an_input_node_takes_the_input_of_its_name_and_others_are_ignored() -> None:
    _, started = _run({"i": ("value", {"name": "A", "value": 0}), "j": ("value", {"name": "B"})}, [], {"A": 7, "X": 1})
    assert _inputs(started) == [("i", {"name": "A", "value": 7}), ("j", {"name": "B"})]


def test_a_linked_input_node_starts_too_and_needs_its_value() -> None:
    nodes, links = {"p": ("pass", {"a": 1}), "i": ("value", {"name": "A"})}, ["p.out -> i.value"]
    _, started = _run(nodes, links, {"A": 1})
    assert [firing.node.id for firing in started] == ["p", "i"]
    with pytest.raises(InvalidArgumentError, match="node i: no value arrived at value"):
        _run(nodes, links)


def test_values_pair_by_arrival() -> None:
    journal, (x, y) = _run({"x": ("pass", {"a": 1}), "y": ("pass", {"a": 1}), "p": "pair"}, ["x.out -> p.a", "y.out -> p.b"])
    for value in (1, 2, 3):
        assert journal.emit(x, "out", value) == []
    assert _inputs(journal.emit(y, "out", 10)) == [("p", {"a": 1, "b": 10})]
    assert _inputs(journal.emit(y, "out", 20)) == [("p", {"a": 2, "b": 20})]
    (odd,) = journal.state.lanes[2].waiting
    why = explain(journal.state, odd)
    assert why is not None
    assert (odd.arrived, why.missing, why.reason) == ({"a": 3}, ("b",), "no value arrived at b")


def test_two_links_into_one_pin_make_two_firings() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a", "x.out_#_k -> p.a"])
    assert _inputs(journal.emit(x, "out", {"k": 1})) == [("p", {"a": {"k": 1}}), ("p", {"a": 1})]


def test_a_constant_is_no_fallback_for_a_linked_pin() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": ("pair", {"b": 5})}, ["x.out -> p.a", "x.never -> p.b"])
    assert journal.emit(x, "out", 1) == []


def test_static_pins_are_filled_from_the_firing_that_was_queued_last() -> None:
    journal, (k, x) = _run({"k": ("keep", {"a": 1}), "x": ("pass", {"a": 1}), "p": "pair"}, ["k.out -> p.b", "x.out -> p.a"])
    for value in (1, 2):
        assert journal.emit(k, "out", value) == []
    ready = [journal.emit(x, "out", value) for value in (10, 20, 30)]
    assert [_inputs(firings) for firings in ready] == [
        [("p", {"a": 10, "b": 1})],
        [("p", {"a": 20, "b": 2})],
        [("p", {"a": 30, "b": 2})],
    ]


def test_a_late_static_value_frees_the_waiting_ones_newest_first() -> None:
    journal, (k, x) = _run({"k": ("keep", {"a": 1}), "x": ("pass", {"a": 1}), "p": "pair"}, ["k.out -> p.b", "x.out -> p.a"])
    for value in (1, 2, 3):
        assert journal.emit(x, "out", value) == []
    ready = journal.emit(k, "out", 10)
    assert [firing.inputs["a"] for firing in ready] == [1, 3, 2]
    assert [firing.ordinal for firing in ready] == [0, 2, 1]
    assert _inputs(journal.emit(x, "out", 4)) == [("p", {"a": 4, "b": 10})]


def test_a_static_value_fires_anew_when_all_other_pins_are_constants() -> None:
    journal, (k,) = _run({"k": ("keep", {"a": 1}), "p": ("pair", {"a": 5})}, ["k.out -> p.b"])
    assert [_inputs(journal.emit(k, "out", value)) for value in (1, 2)] == [
        [("p", {"a": 5, "b": 1})],
        [("p", {"a": 5, "b": 2})],
    ]


def test_masks_replace_what_arrived_and_stand_in_for_a_linked_pin() -> None:
    journal, (x,) = _run(
        {"x": ("pass", {"a": 1}), "p": ("pair", {"b": 5})}, ["x.out -> p.a"], masks={"p": {"a": "M", "b": 6}, "x": {"a": 2}}
    )
    assert x.inputs == {"a": 2}
    assert _inputs(journal.emit(x, "out", 1)) == [("p", {"a": "M", "b": 6})]


def test_a_selector_that_finds_nothing_delivers_nothing_and_an_exact_null_is_delivered() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": "pair", "q": "pair"}, ["x.out_#_k -> p.a", "x.out -> q.a"])
    assert _inputs(journal.emit(x, "out", {"other": 1})) == [("q", {"a": {"other": 1}})]
    assert _inputs(journal.emit(x, "out", {"k": None})) == [("q", {"a": {"k": None}})]
    assert _inputs(journal.emit(x, "out", None)) == [("q", {"a": None})]
    assert _inputs(journal.emit(x, "out", {"k": 3})) == [("p", {"a": 3}), ("q", {"a": {"k": 3}})]


def test_a_null_never_satisfies_a_required_pin() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a"])
    assert journal.emit(x, "out", None) == []
    (blocked,) = journal.state.lanes[1].waiting
    why = explain(journal.state, blocked)
    assert why is not None
    assert why.reason == "required but without a value: a"
    # It keeps its place, so the next value makes the next firing.
    assert _inputs(journal.emit(x, "out", 1)) == [("p", {"a": 1})]


def test_dynamic_pins_are_put_together_and_a_bad_index_blocks_the_firing() -> None:
    journal, (x,) = _run(
        {"x": ("pass", {"a": 1}), "p": ("number", {"a": 0}), "q": ("number", {"a": 0})},
        ["x.out -> p.items_$_1", "x.out -> q.items_$_x"],
    )
    assert _inputs(journal.emit(x, "out", 5)) == [("p", {"a": 0.0, "items_$_1": 5, "items": [None, 5]})]
    (blocked,) = journal.state.lanes[2].waiting
    why = explain(journal.state, blocked)
    assert why is not None
    assert why.reason == "index must be an integer"


def test_tool_pins_reach_the_node_and_pin_they_name() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": "pair", "q": "pair"}, ["x.tools -> p.a", "x.tools_^_search_~_b -> q.b"])
    assert _inputs(journal.emit(x, "tools_^_p_~_a", 1)) == [("p", {"a": 1})]
    assert _inputs(journal.emit(x, "tools_^_q_~_b", 2)) == [("q", {"b": 2})]
    assert journal.emit(x, "tools_^_q_~_a", 3) == []


def test_outputs_of_a_later_firing_wait_for_the_earlier_one_to_end() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": "pass", "sink": "pass"}, ["x.out -> p.a", "p.out -> sink.a", "p.error -> sink.a"])
    (first,) = journal.emit(x, "out", 1)
    (second,) = journal.emit(x, "out", 2)
    (third,) = journal.emit(x, "out", 3)
    for firing in (first, second, third):
        journal.begin(firing)
    assert journal.emit(second, "out", "second") == []
    assert journal.complete(second) == []
    assert journal.fail(third, "third") == []
    assert _inputs(journal.emit(first, "out", "first")) == [("sink", {"a": "first"})]
    assert _inputs(journal.complete(first)) == [("sink", {"a": "second"}), ("sink", {"a": "third"})]


def test_a_failure_goes_out_on_the_pin_error_behind_what_came_before() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a", "x.error -> p.a"])
    assert _inputs(journal.emit(x, "out", 1)) == [("p", {"a": 1})]
    assert _inputs(journal.fail(x, "broken")) == [("p", {"a": "broken"})]
    assert (x.status, x.error, x.outputs) == (Status.FAILED, "broken", [("out", 1), ("error", "broken")])


def test_a_node_that_links_to_itself_goes_round() -> None:
    journal, (x,) = _run({"x": ("value", {"name": "A", "value": 0}), "p": "pass"}, ["x.out -> p.a", "p.out -> p.a"])
    (firing,) = journal.emit(x, "out", 0)
    for value in (1, 2, 3):
        journal.begin(firing)
        (again,) = journal.emit(firing, "out", value)
        journal.complete(firing)
        firing = again
    assert (firing.ordinal, firing.inputs) == (3, {"a": 3})


def test_a_node_with_an_unknown_block_takes_part_and_says_what_is_missing() -> None:
    journal, (x, _) = _run({"x": ("pass", {"a": 1}), "p": ("gone", {"c": 1}), "r": ("retired", {"a": 1})}, ["x.out -> p.q"])
    assert [lane.node.obstacle for lane in journal.state.lanes] == ["", "block gone is not installed", "block Retired is disabled"]
    (firing,) = journal.emit(x, "out", 5)
    assert firing.inputs == {"c": 1, "q": 5}


def test_notes_never_fire() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "n": ("remark", {"text": "hello"})}, ["x.out -> n.text"])
    assert journal.emit(x, "out", "text") == []
    assert not journal.state.lanes[1].waiting


def test_a_firing_that_was_cut_off_starts_again_and_emits_only_what_is_new() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a"])
    journal.emit(x, "out", 1)
    journal.write(EventKind.EXECUTION_RESUMED)
    journal.begin(x)
    assert (x.attempt, x.emitted, x.status) == (1, 1, Status.RUNNING)
    with pytest.raises(JournalError, match="output 0 of firing 0 follows 1 outputs"):
        journal.write(EventKind.NODE_OUTPUT, x, ordinal=0, pin="out", value=1)


def test_open_firings_share_the_fate_of_the_run() -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1}), "p": "pass"}, ["x.out -> p.a"])
    (queued,) = journal.emit(x, "out", 1)
    journal.write(EventKind.EXECUTION_TERMINATED)
    assert (x.status, queued.status, journal.state.status) == (Status.TERMINATED,) * 3
    assert journal.state.ended_count == 1


@pytest.mark.parametrize("kind", [EventKind.NODE_OUTPUT, EventKind.NODE_COMPLETED])
def test_events_that_cannot_follow_are_refused(kind: EventKind) -> None:
    journal, (x,) = _run({"x": ("pass", {"a": 1})}, [])
    journal.complete(x)
    with pytest.raises((JournalError, IllegalTransitionError)):
        journal.write(kind, x, pin="out")


def test_a_run_cannot_complete_while_firings_are_open() -> None:
    journal, _ = _run({"x": ("pass", {"a": 1})}, [])
    with pytest.raises(JournalError):
        journal.write(EventKind.EXECUTION_COMPLETED)


def test_ids_of_firings_follow_from_execution_node_and_ordinal() -> None:
    _, (x,) = _run({"knoten-ü": ("pass", {"a": 1})}, [])
    assert x.id == str(uuid5(UUID(EXECUTION_ID), "knoten-ü/0"))
