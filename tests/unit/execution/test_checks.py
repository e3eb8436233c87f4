"""What speaks against a run is told at once, with node and field."""

from typing import Any

import pytest

from mesh.errors import InvalidArgumentError
from services.execution.engine.checks import Problem, astray, problems
from services.execution.engine.plan import Plan
from tests.unit.execution.graphs import BLOCKS, graph, plan

REQUIRED = "This field is required"


def test_every_missing_required_pin_of_every_node_is_told() -> None:
    found = problems(plan({"p": "pass", "i": "value", "q": "pass"}, ["p.out -> q.x"]), {})
    assert found == [Problem("p", "a", REQUIRED), Problem("i", "name", REQUIRED), Problem("q", "a", REQUIRED)]


@pytest.mark.parametrize(
    ("nodes", "links", "masks"),
    [
        ({"p": ("pass", {"a": 0})}, [], {}),
        ({"p": "pass"}, [], {"p": {"a": 0}}),
        ({"s": ("pass", {"a": 0}), "p": "pass"}, ["s.out -> p.a"], {}),
        ({"n": ("number", {"a": 1, "items_$_0": 1})}, [], {}),
        ({"p": ("pass", {"a": 0}), "r": "remark"}, [], {}),
        ({"p": ("gone", {}), "q": ("gone", {})}, ["p.x -> q.y"], {}),
    ],
    ids=["constant", "mask", "link", "dynamic pin", "note", "unknown block"],
)
def test_what_is_provided_is_no_problem(nodes: dict[str, Any], links: list[str], masks: dict[str, Any]) -> None:
    assert problems(plan(nodes, links), {}, masks) == []


def test_a_missing_run_input_is_no_problem() -> None:
    assert problems(plan({"i": ("value", {"name": "A"})}), {}) == []


def test_a_null_constant_does_not_satisfy_a_required_pin_of_a_starting_node() -> None:
    (problem,) = problems(plan({"p": ("pass", {"a": None})}), {})
    assert (problem.node_id, problem.field) == ("p", "a")


def test_a_graph_without_a_starting_node_is_refused() -> None:
    (problem,) = problems(plan({"p": "pass", "q": "pass"}, ["p.out -> q.a", "q.out -> p.a"]), {})
    assert problem.message.startswith("No starting nodes found")


def test_a_trigger_needs_its_payload_from_a_mask() -> None:
    for constants in ({}, {"payload": {"a": 1}}):
        (problem,) = problems(plan({"t": ("trigger", constants)}), {})
        assert (problem.node_id, problem.field) == ("t", "payload")
    assert problems(plan({"t": "trigger"}), {}, {"t": {"payload": {"a": 1}}}) == []


def test_masks_without_effect_are_told() -> None:
    made = plan({"p": ("pass", {"a": 0}), "g": ("gone", {})}, [])
    assert astray(made, {"p": {"a": 1, "a_$_0": 2}, "g": {"anything": 1}}) == []
    found = astray(made, {"p": {"a": 1, "b": 2, "b_#_k": 3}, "x": {"a": 1}})
    assert [(item.node_id, item.field) for item in found] == [("p", "b"), ("p", "b_#_k"), ("x", "")]


def test_links_to_nodes_that_are_not_there_and_ids_that_come_twice_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="node q, which is not there"):
        plan({"p": "pass"}, ["p.out -> q.a"])
    document = graph({"p": "pass"})
    document["nodes"] *= 2
    with pytest.raises(InvalidArgumentError, match="two nodes p"):
        Plan.compile(document, BLOCKS)
