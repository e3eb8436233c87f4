"""Values that are gathered: one list when no more can come, or one for each run of a source."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.block.sdk import BlockRegistry
from services.execution.engine.checks import problems
from services.execution.engine.dataflow import start
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


def results(nodes: dict[str, Any], links: list[str], **inputs: Any) -> dict[str, list[Any]]:
    """Outputs of a run of real blocks."""
    document = graph({"in": (INPUT, {"name": "X"}), "out": (OUTPUT, {"name": "R"}), **nodes}, links)
    plan = Plan.compile(document, BlockRegistry.installed())
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


def test_a_source_must_lie_upstream() -> None:
    nodes, links = nested("out")
    compiled = Plan.compile(
        graph({"in": (INPUT, {"name": "X"}), "out": (OUTPUT, {"name": "R"}), **nodes}, links), BlockRegistry.installed()
    )
    assert [(problem.node_id, problem.field) for problem in problems(compiled, {})] == [("row", "source")]


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
    return plan(nodes, list(dict.fromkeys(links)))


class Course:
    """A run by chance that also counts what leads to each node that gathers."""

    def __init__(self, plan: Plan) -> None:
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
            choice = data.draw(st.sampled_from(MOVES)) if number < most else "complete"
            if choice == "complete":
                ready = self.journal.complete(firing)
            elif choice == "fail":
                ready = self.journal.fail(firing, "broken")
            else:
                ready = self.journal.emit(firing, "out", number)
        self._check(ready)
        self.queue.extend(ready)
        self.seen.append(snapshot(self.state))
        return True

    def _check(self, ready: list[Firing]) -> None:
        """A list without a source is complete: nothing upstream is open, but for what the lists of this very moment have set going."""
        for made in ready:
            gather = made.node.gather
            if gather is not None and gather.source is None:
                still = [other for other in self.state.firings.values() if other.node.index in gather.upstream and other not in ready]
                assert not [other for other in still if not other.status.is_ended and other.status is not Status.INCOMPLETE]


@settings(max_examples=150, deadline=None)
@given(gathering_plans(), st.data())
def test_no_value_is_lost_or_doubled_and_lists_come_when_all_is_quiet(plan: Plan, data: st.DataObject) -> None:
    course = Course(plan)
    for number in range(400):
        if not course.step(data, number, 30):
            break
    state = course.state
    assert state.open_count == 0
    for lane in state.lanes:
        gather = lane.node.gather
        if gather is None or gather.source is not None:
            continue
        emitted = [
            value
            for link, node in [(link, node) for node in plan.nodes for link in node.links if link.sink == lane.node.index]
            for firing in state.firings.values()
            if firing.node is node
            for pin, value in firing.outputs
            if pin == link.source_pin
        ]
        gathered = [value for firing in state.firings.values() if firing.node is lane.node for value in firing.arrived["item"]]
        assert sorted(map(str, gathered)) == sorted(map(str, emitted))


@settings(max_examples=60, deadline=None)
@given(gathering_plans(), st.data())
def test_any_prefix_of_a_gathering_run_replays_to_the_state_it_had_then(plan: Plan, data: st.DataObject) -> None:
    course = Course(plan)
    for number in range(60):
        if not course.step(data, number, 30):
            break
    length = data.draw(st.integers(1, len(course.journal.events)))
    assert snapshot(replay(plan, course.journal.events[:length])) == course.seen[length - 1]
