"""The index of firings knows of each what the whole history knows, at every row of the journal."""

import pytest

from services.execution.engine.events import NO_FIRING, Event
from services.execution.engine.status import Status
from services.execution.firing_index import FiringIndex, Place
from services.execution.lines import Line, line_of
from tests.unit.execution.simulator import EXECUTION_ID, Simulation
from tests.unit.execution.test_scenarios import RUN, SCENARIOS, _plan, _simulate

OUTPUTS_SHOWN = 3


def index_of(id: str) -> FiringIndex:
    """An index of a scenario's run that has seen nothing."""
    scenario = SCENARIOS[id]
    return FiringIndex(_plan(scenario), EXECUTION_ID, scenario["inputs"], scenario.get("input_masks") or {}, outputs_shown=OUTPUTS_SHOWN)


def lines_of(simulation: Simulation) -> list[Line]:
    """The run's journal."""
    return [_line(simulation, event) for event in simulation.events]


def _line(simulation: Simulation, event: Event) -> Line:
    if event.firing == NO_FIRING:
        return line_of(event, -1, 0)
    firing = simulation.state.firings[event.firing]
    return line_of(event, firing.node.index, firing.ordinal)


def places(index: FiringIndex) -> list[Place]:
    """All of them."""
    return [index.place(at) for at in index.of_node(None, 0)]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("id", sorted(RUN))
def test_places_agree_with_the_history(id: str, size: int) -> None:
    simulation, _ = _simulate(SCENARIOS[id])
    lines = lines_of(simulation)
    index = index_of(id)
    for first in range(0, len(lines), size):
        index.add_row(first + 1, lines[first : first + size])
    assert index.seq == len(lines)
    found = places(index)
    assert [(place.node, place.nth, place.status) for place in found] == [
        (firing.node.index, firing.ordinal, firing.status) for firing in simulation.state.firings.values()
    ]
    for place, firing in zip(found, simulation.state.firings.values(), strict=True):
        assert place.output_count == firing.emitted
        shown = [lines[seq - 1] for seq in place.outputs]
        assert [(line.firing, line.pin, line.event.value) for line in shown] == [
            (firing.index, pin, value) for pin, value in firing.outputs[: min(OUTPUTS_SHOWN, firing.emitted)]
        ]
        assert (lines[place.started - 1].time_us if place.started else 0) == firing.started_us
        assert (place.live is not None) == (firing.index in index.state.firings)
        assert {index.row_of(seq) for seq in place.seqs} == {(seq - 1) // size * size + 1 for seq in place.seqs}


@pytest.mark.parametrize("id", sorted(RUN))
def test_what_is_over_is_told_by_its_places_alone(id: str) -> None:
    simulation, _ = _simulate(SCENARIOS[id])
    index = index_of(id)
    index.add_row(1, lines_of(simulation))
    for place in places(index):
        if place.live is None:
            assert place.status in (Status.COMPLETED, Status.FAILED, Status.TERMINATED)
            assert place.started
            assert place.ended


def test_firings_of_a_node_are_found_from_any_place() -> None:
    widest = max(RUN, key=lambda key: len(_simulate(SCENARIOS[key])[0].state.firings))
    simulation, _ = _simulate(SCENARIOS[widest])
    index = index_of(widest)
    index.add_row(1, lines_of(simulation))
    for node in simulation.state.plan.nodes:
        all_of_it = [firing.index for firing in simulation.state.firings.values() if firing.node.index == node.index]
        assert list(index.of_node(node.index, 0)) == all_of_it
        assert list(index.of_node(node.index, 5)) == [at for at in all_of_it if at >= 5]
