"""Values that are gathered: one list when no more can come, or one for each run of a source."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.block.sdk import Block, BlockContext, BlockInput, BlockOutput, BlockRegistry, BlockResult, pin
from services.execution.engine.checks import problems
from services.execution.engine.dataflow import start
from services.execution.engine.fold import apply
from services.execution.engine.outcome import outputs
from services.execution.engine.plan import Plan
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from tests.unit.execution.graphs import EXECUTION_ID, Journal, graph, plan
from tests.unit.execution.simulator import Simulation
from tests.unit.execution.test_properties import replay, snapshot

INPUT = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
OUTPUT = "363ae599-353e-4804-937e-b2ee3cef3da4"
STEP = "f66a3543-28d3-4ab5-8945-9b336371e2ce"
CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
DELAY = "5d3f0d0e-6d7c-4c62-9a7b-1f5f0f0c4f1a"
REVIEW = "8b2a7b3c-6e9d-4a5f-8c1b-2e3f4a5b6c7d"
COLLECT = "2c6f8b0a-7c1e-4a43-9a1f-3f0d0f2b9e54"
CONDITION = "715696a0-e1da-45c8-b209-c2fa9c3b0be6"
STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"


class Count(Block):
    """Emits 0 to n - 1."""

    id = "count"

    class Input(BlockInput):
        n: int = pin()
        base: Any = pin(None)

    class Output(BlockOutput):
        out: int = pin()

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        for number in range(input.n):
            yield "out", number


BLOCKS = BlockRegistry([*map(type, BlockRegistry.installed().all()), Count])


def results(nodes: dict[str, Any], links: list[str], **inputs: Any) -> dict[str, list[Any]]:
    """Outputs of a run of real blocks."""
    document = graph({"in": (INPUT, {"name": "X"}), "out": (OUTPUT, {"name": "R"}), **nodes}, links)
    plan = Plan.compile(document, BLOCKS)
    assert problems(plan, inputs) == []
    return outputs(Simulation(plan, inputs).run().state)


def test_all_values_of_a_stream_make_one_list_in_their_order() -> None:
    nodes = {"step": (STEP, {}), "sum": (CALCULATOR, {"operation": "Add", "b": 1}), "all": (COLLECT, {})}
    links = ["in.result -> step.items", "step.item -> sum.a", "sum.result -> all.item", "all.items -> out.value"]
    assert results(nodes, links, X=[3, 1, 2]) == {"R": [[4.0, 2.0, 3.0]]}


def test_a_stream_without_values_makes_an_empty_list() -> None:
    nodes: dict[str, Any] = {"step": (STEP, {}), "all": (COLLECT, {})}
    links = ["in.result -> step.items", "step.item -> all.item", "all.items -> out.value"]
    assert results(nodes, links, X=[]) == {"R": [[]]}


def test_waits_for_slow_values_reviews_and_all_branches() -> None:
    nodes = {"step": (STEP, {}), "slow": (DELAY, {"seconds": 30}), "ask": (REVIEW, {"name": "?"}), "all": (COLLECT, {})}
    links = ["in.result -> step.items", "step.item -> slow.input", "slow.output -> all.item", "step.item -> ask.data"]
    links += ["ask.approved_data -> all.item", "all.count -> out.value"]
    assert results(nodes, links, X=[1, 2]) == {"R": [4]}


def nested(source: str) -> tuple[dict[str, Any], list[str]]:
    """Each item of X is a list, whose items are collected."""
    nodes = {"rows": (STEP, {}), "cells": (STEP, {}), "row": (COLLECT, {"source": source})}
    links = ["in.result -> rows.items", "rows.item -> cells.items", "cells.item -> row.item", "row.items -> out.value"]
    return nodes, links


def test_with_a_source_there_is_a_list_for_each_of_its_runs() -> None:
    assert results(*nested("cells"), X=[[1, 2], [], [3]]) == {"R": [[1, 2], [], [3]]}


def test_a_source_further_up_gathers_all_that_came_of_each_of_its_runs() -> None:
    assert results(*nested("rows"), X=[[1, 2], [], [3]]) == {"R": [[1, 2, 3]]}


def test_lists_of_lists() -> None:
    nodes, links = nested("cells")
    nodes["all"] = (COLLECT, {})
    links[-1:] = ["row.items -> all.item", "all.items -> out.value"]
    assert results(nodes, links, X=[[1, 2], [], [3]]) == {"R": [[[1, 2], [], [3]]]}


def test_lists_of_lists_by_source() -> None:
    nodes, links = nested("cells")
    nodes["pages"] = (STEP, {})
    nodes["page"] = (COLLECT, {"source": "rows"})
    links[0] = "in.result -> pages.items"
    links[-1:] = ["pages.item -> rows.items", "row.items -> page.item", "page.items -> out.value"]
    assert results(nodes, links, X=[[[1], [2, 3]], [[4]]]) == {"R": [[[1], [2, 3]], [[4]]]}


@pytest.mark.parametrize("source", ["", "g"])
def test_a_loop_through_a_collect_ends_when_nothing_comes_round_any_more(source: str) -> None:
    nodes = {
        "g": ("count", {}),
        "all": (COLLECT, {"source": source}),
        "more": (CONDITION, {"operator": ">", "value2": 1}),
        "less": (CALCULATOR, {"operation": "Subtract", "b": 1}),
    }
    links = ["in.result -> g.n", "g.out -> all.item", "all.items -> out.value", "all.count -> more.value1"]
    links += ["more.yes_output -> less.a", "less.result -> g.n"]
    assert results(nodes, links, X=3) == {"R": [[0, 1, 2], [0, 1], [0]]}


def test_what_a_list_sets_going_makes_no_list_when_nothing_comes_of_it() -> None:
    nodes: dict[str, Any] = {"g": ("count", {}), "all": (COLLECT, {}), "f": (STORE, {}), "h": ("count", {"n": 0})}
    links = ["in.result -> g.n", "g.out -> all.item", "all.items -> out.value", "all.count -> f.input", "f.output -> h.base"]
    links += ["h.out -> all.item"]
    assert results(nodes, links, X=2) == {"R": [[0, 1]]}
    assert results(nodes, links, X=0) == {"R": [[]]}


def test_firings_that_wait_for_something_slower_hold_the_list_of_their_source_back() -> None:
    nodes = {
        "g": ("count", {}),
        "slow": (DELAY, {"seconds": 30, "input": 10}),
        "kept": (STORE, {}),
        "sum": (CALCULATOR, {"operation": "Add"}),
        "all": (COLLECT, {"source": "g"}),
    }
    links = ["in.result -> g.n", "slow.output -> kept.input", "kept.output -> sum.a", "g.out -> sum.b", "sum.result -> all.item"]
    # A late static value frees the newest of those that wait first.
    assert results(nodes, [*links, "all.items -> out.value"], X=3) == {"R": [[10.0, 12.0, 11.0]]}


def test_a_list_upstream_holds_the_list_of_its_source_back() -> None:
    """The inner list has values of both runs of g, and is complete when both have ended."""
    nodes = {"rows": (STEP, {}), "g": ("count", {}), "slow": (DELAY, {}), "all": (COLLECT, {}), "each": (COLLECT, {"source": "g"})}
    links = ["in.result -> rows.items", "rows.item -> g.n", "g.out -> slow.seconds", "g.out -> slow.input", "slow.output -> all.item"]
    links += ["all.items -> each.item", "each.items -> out.value"]
    assert results(nodes, links, X=[1, 3]) == {"R": [[[0, 0, 1, 2]], [[0, 0, 1, 2]]]}


def test_values_that_nothing_can_complete_hold_no_list_back_once_all_is_quiet() -> None:
    nodes: dict[str, Any] = {
        "rows": (STEP, {}),
        "g": ("count", {}),
        "h": ("count", {"n": 3}),
        "sum": (CALCULATOR, {"operation": "Add"}),
        "all": (COLLECT, {"source": "g"}),
    }
    links = ["in.result -> rows.items", "rows.item -> g.n", "g.out -> sum.a", "h.out -> sum.b", "sum.result -> all.item"]
    assert results(nodes, [*links, "all.items -> out.value"], X=[2, 2]) == {"R": [[0.0, 2.0], [2.0]]}


def test_two_collects_in_a_row_may_have_one_source() -> None:
    nodes: dict[str, Any] = {"rows": (STEP, {}), "g": ("count", {}), "one": (COLLECT, {"source": "g"}), "two": (COLLECT, {"source": "g"})}
    links = ["in.result -> rows.items", "rows.item -> g.n", "g.out -> one.item", "one.items -> two.item", "two.items -> out.value"]
    assert results(nodes, links, X=[2, 0]) == {"R": [[[0, 1]], [[]]]}


def test_a_list_of_a_list_by_the_same_source_is_given_as_soon_as_it_is_complete() -> None:
    nodes: dict[str, Any] = {"x": ("pass", {"a": 1}), "g": "pass", "one": ("gather", {"source": "g"}), "two": ("gather", {"source": "g"})}
    state = State(plan(nodes, ["x.out -> g.a", "g.out -> one.item", "one.out -> two.item"]), EXECUTION_ID)
    (x,) = start(state, {})
    journal = Journal(state)
    (g,) = journal.emit(journal.begin(x), "out", 1)
    journal.emit(journal.begin(g), "out", 2)
    (one,) = journal.complete(g)
    journal.emit(journal.begin(one), "out", one.inputs["item"])
    # x is still at work, so not all of the upstream is quiet.
    (two,) = journal.complete(one)
    assert two.inputs["item"] == [[2]]


def test_behind_a_collect_its_source_is_forgotten() -> None:
    nodes: dict[str, Any] = {"x": ("pass", {"a": 1}), "c": ("gather", {"source": "x"})}
    state = State(plan(nodes, ["x.out -> c.item"]), EXECUTION_ID)
    (x,) = start(state, {})
    journal = Journal(state)
    journal.emit(journal.begin(x), "out", 1)
    (collect,) = journal.complete(x)
    assert [set(x.origins), set(collect.origins)] == [{(0, 0)}, set()]


def test_a_source_must_lie_upstream() -> None:
    nodes, links = nested("out")
    compiled = Plan.compile(
        graph({"in": (INPUT, {"name": "X"}), "out": (OUTPUT, {"name": "R"}), **nodes}, links), BlockRegistry.installed()
    )
    assert [(problem.node_id, problem.field) for problem in problems(compiled, {})] == [("row", "source")]


@pytest.mark.parametrize("pin", ["source", "item_$_0"])
def test_what_would_silently_turn_gathering_off_is_refused(pin: str) -> None:
    nodes: dict[str, Any] = {"x": ("pass", {"a": 1}), "c": "gather"}
    assert problems(plan(nodes, ["x.out -> c.item"]), {}) == []
    linked = plan(nodes, ["x.out -> c.item", f"x.out -> c.{pin}"])
    assert [(problem.node_id, problem.field) for problem in problems(linked, {})] == [("c", pin)]
    masked = problems(plan(nodes, ["x.out -> c.item"]), {}, {"c": {pin: "x"}})
    assert [(problem.node_id, problem.field) for problem in masked] == [("c", pin)]


def test_failed_firings_count_as_ended() -> None:
    state = State(plan({"x": ("pass", {"a": 1}), "c": "gather"}, ["x.out -> c.item"]), EXECUTION_ID)
    (x,) = start(state, {})
    journal = Journal(state)
    journal.begin(x)
    assert journal.emit(x, "out", 1) == []
    (collect,) = journal.fail(x, "broken")
    assert collect.inputs["item"] == [1]


MOVES = ["out"] * 4 + ["complete"] * 3 + ["fail"]


@st.composite
def gathering_plans(draw: st.DrawFn) -> Plan:
    """Two streams, two to four nodes behind them, one or two that gather, with and without a source; loops as well."""
    middle = draw(st.integers(2, 4))
    nodes: dict[str, Any] = {"n0": ("pass", {"a": 1}), "n1": ("pass", {"a": 1})}
    for at in range(2, 2 + middle):
        nodes[f"n{at}"] = (draw(st.sampled_from(["pass", "pass", "pair", "keep"])), {})
    names = list(nodes)
    links = [f"{draw(st.sampled_from(names[:at]))}.out -> n{at}.a" for at in range(2, 2 + middle)]
    links += [f"{draw(st.sampled_from(names))}.out -> {draw(st.sampled_from(names[2:]))}.a" for _ in range(draw(st.integers(0, 2)))]
    before = names
    for at in range(draw(st.integers(1, 2))):
        source = draw(st.sampled_from(["", "n0", names[2]]))
        nodes[f"c{at}"] = ("gather", {"source": source})
        links += [f"{draw(st.sampled_from(before))}.out -> c{at}.item" for _ in range(draw(st.integers(1, 2)))]
        before = [*before, f"c{at}"]
    for at in range(draw(st.integers(0, 2))):
        links.append(f"{draw(st.sampled_from(['c0', before[-1]]))}.out -> {draw(st.sampled_from(names[2:]))}.{'ab'[at]}")
    return plan(nodes, list(dict.fromkeys(links)))


class Course:
    """A run by chance that also counts what leads to each node that gathers."""

    def __init__(self, plan: Plan, *, is_watched: bool = False) -> None:
        self.is_watched = is_watched
        self.state = State(plan, EXECUTION_ID)
        self.queue: list[Firing] = start(self.state, {})
        self.journal = Journal(self.state)
        self.seen = [snapshot(self.state)]

    def step(self, data: st.DataObject, number: int, most: int) -> bool:
        open_ones = [firing for firing in self.queue if not firing.status.is_ended]
        if not open_ones:
            return False
        firing = data.draw(st.sampled_from(open_ones[:6]))
        if firing.status is Status.QUEUED:
            ready: list[Firing] = []
            self.journal.begin(firing)
        else:
            choice = data.draw(st.sampled_from(MOVES)) if number < most else self._last_move(firing)
            if choice == "complete":
                ready = self.journal.complete(firing)
            elif choice == "fail":
                ready = self.journal.fail(firing, "broken")
            else:
                ready = self.journal.emit(firing, "out", number)
        self._check(ready)
        self.queue.extend(ready)
        if self.is_watched:
            self.seen.append(snapshot(self.state))
        return True

    def _last_move(self, firing: Firing) -> str:
        """At the end no node gives anything, but for those that gather. One with a source keeps empty lists to itself: a loop in
        which each run of the source makes the next has no exit.
        """
        gather = firing.node.gather
        gives = gather is not None and not firing.emitted and (gather.source is None or firing.inputs["item"])
        return "out" if gives else "complete"

    def _check(self, ready: list[Firing]) -> None:
        """A list without a source is complete: nothing upstream is open, but for what the lists of this very moment have set going."""
        gatherings = [lane.gathering for lane in self.state.lanes if lane.gathering is not None]
        assert all(gathered.busy >= 0 and gathered.held >= 0 for gathering in gatherings for gathered in gathering.lists.values())
        for made in ready:
            gather = made.node.gather
            if gather is not None and gather.source is None:
                still = [other for other in self.state.firings.values() if other.node.index in gather.upstream and other not in ready]
                assert not [other for other in still if not other.status.is_ended and other.status is not Status.INCOMPLETE]


@settings(max_examples=200, deadline=None)
@given(gathering_plans(), st.data())
def test_loops_end_no_value_is_lost_or_doubled_and_lists_come_when_all_is_quiet(plan: Plan, data: st.DataObject) -> None:
    course = Course(plan)
    for number in range(600):
        if not course.step(data, number, 30):
            break
    state = course.state
    assert state.open_count == 0
    for lane in state.lanes:
        gather = lane.node.gather
        if gather is None:
            continue
        lists = [firing.arrived["item"] for firing in state.firings.values() if firing.node is lane.node]
        if gather.source is not None:
            assert len(lists) == state.lanes[gather.source].created - len(state.lanes[gather.source].waiting)
            continue
        emitted = [
            value
            for link, node in [(link, node) for node in plan.nodes for link in node.links if link.sink == lane.node.index]
            for firing in state.firings.values()
            if firing.node is node
            for pin, value in firing.outputs
            if pin == link.source_pin
        ]
        assert sorted(map(str, emitted)) == sorted(str(value) for values in lists for value in values)
        assert all(lists[1:])


@settings(max_examples=60, deadline=None)
@given(gathering_plans(), st.data())
def test_any_prefix_of_a_gathering_run_replays_to_the_state_it_had_then(plan: Plan, data: st.DataObject) -> None:
    course = Course(plan, is_watched=True)
    for number in range(60):
        if not course.step(data, number, 30):
            break
    length = data.draw(st.integers(1, len(course.journal.events)))
    assert snapshot(replay(plan, course.journal.events[:length])) == course.seen[length - 1]


@settings(max_examples=60, deadline=None)
@given(gathering_plans(), st.data())
def test_a_state_without_history_gathers_the_same(plan: Plan, data: st.DataObject) -> None:
    course = Course(plan)
    for number in range(200):
        if not course.step(data, number, 30):
            break
    lean = State(plan, EXECUTION_ID, keeps_history=False)
    queue = start(lean, {})
    for event in course.journal.events:
        queue.extend(apply(lean, event))
    assert [(firing.id, firing.inputs) for firing in queue] == [(firing.id, firing.inputs) for firing in course.queue]
