"""The checker itself: it finds nothing in a good journal, and each kind of damage."""

from collections.abc import Callable
from typing import Any

import pytest

from services.execution.engine.events import EventKind
from services.execution.engine.state import State
from tests.chaos.checker import faults_of_run
from tests.chaos.effects import Effects
from tests.chaos.load import Accepted
from tests.chaos.workload import kinds
from tests.unit.execution.simulator import EXECUTION_ID, Simulation, simulate

X = 3
PURE = kinds("http://127.0.0.1:1/")[0]

Events = list[dict[str, Any]]


def shown(run: Simulation) -> Events:
    """The events as the API shows them."""
    found = []
    for seq, event in enumerate(run.events, 1):
        firing = _firing(run.state, event.firing)
        found.append(
            {
                "seq": seq,
                "kind": f"EVENT_KIND_{event.kind.name}",
                "node_id": firing.node.id if firing else "",
                "node_execution_id": firing.id if firing else "",
                "pin": event.pin,
                "ordinal": event.ordinal,
                "value": event.value,
                "error": event.error,
            }
        )
    return found


def _firing(state: State, index: int) -> Any:
    return state.firings[index] if index >= 0 else None


def faults(events: Events, outputs: list[Any]) -> list[str]:
    """What the checker says of a completed run."""
    execution = {
        "status": "EXECUTION_STATUS_COMPLETED",
        "outcome": "EXECUTION_OUTCOME_SUCCEEDED",
        "last_seq": len(events),
        "outputs": {"R": outputs},
        "error": "",
    }
    return list(faults_of_run(Accepted(EXECUTION_ID, "", PURE, X), execution, events, Effects(1)))


def numbered(events: Events) -> Events:
    """With seq 1..n again."""
    return [{**event, "seq": seq} for seq, event in enumerate(events, 1)]


def last(events: Events, kind: EventKind) -> int:
    """The place of the last event of a kind."""
    return max(at for at, event in enumerate(events) if event["kind"] == f"EVENT_KIND_{kind.name}")


def _without(kind: EventKind) -> Callable[[Events], Events]:
    def damage(events: Events) -> Events:
        at = last(events, kind)
        return numbered(events[:at] + events[at + 1 :])

    return damage


def _twice(kind: EventKind) -> Callable[[Events], Events]:
    def damage(events: Events) -> Events:
        at = last(events, kind)
        return numbered([*events[: at + 1], *events[at:]])

    return damage


def _changed(events: Events) -> Events:
    at = last(events, EventKind.NODE_OUTPUT) - 4
    at = max(place for place in range(at) if events[place]["kind"] == "EVENT_KIND_NODE_OUTPUT")
    return [*events[:at], {**events[at], "value": 999}, *events[at + 1 :]]


def test_a_good_journal_has_no_fault() -> None:
    run = simulate(PURE.graph, {"X": X})
    assert faults(shown(run), PURE.expected(X)) == []


@pytest.mark.parametrize(
    ("rule", "damage"),
    [
        ("(a)", _without(EventKind.EXECUTION_COMPLETED)),
        ("(a)", _twice(EventKind.EXECUTION_COMPLETED)),
        ("(b)", lambda events: events[:4] + events[5:]),
        ("(c)", _twice(EventKind.NODE_COMPLETED)),
        ("(c)", _twice(EventKind.NODE_OUTPUT)),
        ("(c)", _without(EventKind.NODE_STARTED)),
        ("(i)", _without(EventKind.NODE_COMPLETED)),
        ("(i)", _changed),
    ],
    ids=["no end", "two ends", "gap", "ended twice", "output twice", "never started", "firing left", "value changed"],
)
def test_damage_is_found(rule: str, damage: Callable[[Events], Events]) -> None:
    found = faults(damage(shown(simulate(PURE.graph, {"X": X}))), PURE.expected(X))
    assert any(fault.startswith(rule) for fault in found), found


def test_wrong_outputs_are_found() -> None:
    assert any(fault.startswith("(j)") for fault in faults(shown(simulate(PURE.graph, {"X": X})), [0]))
