"""What a run looks like from outside: its firings, one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.execution.engine.dataflow import explain
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status


@dataclass(frozen=True, slots=True)
class NodeExecution:
    """A firing as clients see it. `inputs` are those it runs with, or what arrived so far while INCOMPLETE; `error` says why it failed, or
    why it does not start. Times are microseconds since 1970 UTC, 0 when not reached.
    """

    id: str
    node_id: str
    block_id: str
    status: Status
    inputs: Mapping[str, Any]
    outputs: Sequence[tuple[str, Any]]
    error: str
    started_us: int
    ended_us: int


def node_executions(state: State, node_id: str = "") -> list[NodeExecution]:
    """The firings in the order they came to be, of one node if it is named. Needs a state that keeps history."""
    return [_shown(state, firing) for firing in state.firings.values() if node_id in ("", firing.node.id)]


def _shown(state: State, firing: Firing) -> NodeExecution:
    is_waiting = firing.status is Status.INCOMPLETE
    why = explain(state, firing)
    return NodeExecution(
        id=firing.id,
        node_id=firing.node.id,
        block_id=firing.node.block_id,
        status=firing.status,
        inputs=firing.arrived if is_waiting else firing.inputs,
        outputs=firing.outputs,
        error=why.reason if why else firing.error,
        started_us=firing.started_us,
        ended_us=firing.ended_us,
    )
