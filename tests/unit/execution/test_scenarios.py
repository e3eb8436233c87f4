"""Whole graphs, recorded on the AutoGPT Platform: the same firings with the same inputs and outputs, and the same results of the run."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.block.sdk import BlockRegistry
from services.execution.engine.checks import problems
from services.execution.engine.outcome import Conclusion, conclude
from services.execution.engine.plan import Plan
from tests.unit.execution.graphs import link
from tests.unit.execution.simulator import Simulation
from tests.unit.execution.view import node_executions

DATA = Path(__file__).parents[2] / "data" / "semantics" / "scenarios.json"
SCENARIOS = {scenario["id"]: scenario for scenario in json.loads(DATA.read_text())["scenarios"]}

# Prices are not there yet; links to unknown pins are refused when a graph is saved, not by the engine.
LATER = {key for key, scenario in SCENARIOS.items() if scenario.get("prices")}
ON_SAVE = {key for key, scenario in SCENARIOS.items() if "refused_on_save" in scenario["expected"]}
REFUSED = {key for key, scenario in SCENARIOS.items() if "not_started" in scenario["expected"]}
RUN = SCENARIOS.keys() - LATER - ON_SAVE - REFUSED

# The platform starts its starting nodes in reverse listing order, Treadle in listing order, so values of two inputs meet the other way.
STARTS_IN_REVERSE = {"g26"}
_RAISED = re.compile(r"raised by \w+ with message: (.*)\. block_id: \S+")


AGENT = "e189baac-8c20-45a1-94a7-55177ea42565"


def _node(key: str, node: dict[str, Any]) -> dict[str, Any]:
    """In the recordings, a node that runs another agent names it by its title."""
    constants = node["input_default"]
    return {"id": key, **node, "input_default": {"graph_id": constants["graph"]} if node["block_id"] == AGENT else constants}


def _plan(scenario: dict[str, Any]) -> Plan:
    nodes = [_node(key, node) for key, node in scenario["nodes"].items()]
    return Plan.compile({"nodes": nodes, "links": [link(text) for text in scenario["links"]]}, BlockRegistry.installed())


def _plain(value: Any) -> Any:
    """Numbers as numbers; of the text of a failure only the block's own words, which is what Treadle's `error` pin carries."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        raised = _RAISED.fullmatch(value)
        return raised[1] if raised else value
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _key(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _simulate(scenario: dict[str, Any]) -> tuple[Simulation, Conclusion]:
    agents = {agent["name"]: _plan(agent) for agent in scenario.get("sub_agents") or ()}
    simulation = Simulation(_plan(scenario), scenario["inputs"], scenario.get("input_masks"), agents=agents)
    simulation.run(cancel_after_s=scenario.get("cancel_after"))
    return simulation, conclude(simulation.state)


@pytest.mark.parametrize("id", sorted(RUN))
def test_firings_and_outputs_are_those_of_the_platform(id: str) -> None:
    scenario = SCENARIOS[id]
    simulation, _ = _simulate(scenario)
    _compare(id, simulation, scenario["expected"])


def _compare(id: str, simulation: Simulation, expected: dict[str, Any]) -> None:
    conclusion = conclude(simulation.state)
    found = Counter(_key([item.node_id, item.status.name, item.inputs, item.outputs]) for item in node_executions(simulation.state))
    wanted = Counter(_key([item["node"], item["status"], item["input"], item["output"]]) for item in expected["node_executions"])
    assert found == wanted

    assert conclusion.status.name == expected["graph_status"]
    assert (conclusion.stats.node_count, conclusion.stats.node_error_count) == (
        expected["stats"]["node_exec_count"],
        expected["stats"]["node_error_count"],
    )
    order = sorted if id in STARTS_IN_REVERSE else list
    assert conclusion.outputs.keys() == expected["outputs"].keys()
    for name, values in expected["outputs"].items():
        assert order(map(_key, conclusion.outputs[name])) == order(map(_key, values))
    children = expected.get("children") or []
    assert len(simulation.children) == len(children)
    for child, wanted_child in zip(simulation.children, children, strict=True):
        _compare(id, child, wanted_child)


@pytest.mark.parametrize("id", sorted(REFUSED))
def test_a_run_that_the_platform_refuses_is_refused_with_node_and_field(id: str) -> None:
    scenario = SCENARIOS[id]
    refusal = scenario["expected"]["not_started"]
    found = problems(_plan(scenario), scenario["inputs"])
    if "node_errors" in refusal:
        assert {problem.node_id: {problem.field: problem.message} for problem in found} == refusal["node_errors"]
    else:
        assert [(problem.node_id, problem.field) for problem in found] == [("b", "value")]


def test_most_of_the_scenarios_are_covered() -> None:
    assert len(RUN | REFUSED) == 36
