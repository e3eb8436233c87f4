"""What must hold before a run may start. All problems are found at once; none of them is found later."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.block.sdk import BlockType
from services.block.sdk.inputs import NotReady, input_plan
from services.block.sdk.pins import base_name
from services.execution.engine.dataflow import given
from services.execution.engine.plan import SOURCE_PIN, Node, Plan

_TRIGGERS = frozenset({BlockType.WEBHOOK, BlockType.WEBHOOK_MANUAL})
_PAYLOAD = "payload"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a run is refused. `node_id` is empty for what concerns the whole graph, `field` for what concerns a whole node."""

    node_id: str
    field: str
    message: str


def problems(plan: Plan, inputs: Mapping[str, Any], masks: Mapping[str, Mapping[str, Any]] | None = None) -> list[Problem]:
    """Everything that speaks against a run with these inputs (by name) and masks (by node id and pin). A missing input is no problem: its
    node then has its default, or emits nothing.
    """
    masks = masks or {}
    if not plan.starting:
        return [Problem("", "", "No starting nodes found: every node has an inbound link")]
    found: list[Problem] = []
    for node in plan.nodes:
        found.extend(_required(node, masks.get(node.id, {})))
    for node in plan.starting:
        if not any(problem.node_id == node.id for problem in found):
            found.extend(_start(node, inputs, masks.get(node.id, {})))
    return found


def astray(plan: Plan, masks: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Masks that would have no effect: for nodes that the graph does not have, and for pins that their blocks do not have."""
    nodes = {node.id: node for node in plan.nodes}
    found: list[Problem] = []
    for node_id, mask in masks.items():
        node = nodes.get(node_id)
        if node is None:
            found.append(Problem(node_id, "", "The graph has no such node"))
        # What another agent takes, and what a block takes that is not installed, nobody knows here.
        elif node.block is not None and node.type is not BlockType.AGENT:
            known = input_plan(node.block).names
            found.extend(Problem(node_id, pin, f"{node.block.name} has no such pin") for pin in mask if base_name(pin) not in known)
    return found


def _required(node: Node, mask: Mapping[str, Any]) -> Iterator[Problem]:
    """Required pins need a constant, a link or a mask."""
    if node.type is BlockType.NOTE:
        return
    provided = {base_name(pin) for pin in (*node.document_constants, *node.linked, *mask)}
    if node.gather is not None and node.gather.is_astray:
        yield Problem(node.id, SOURCE_PIN, "This is not the id of a node whose values lead here")
    yield from _gathers(node, mask)
    for pin in node.required:
        if pin == _PAYLOAD and node.type in _TRIGGERS:
            continue
        if pin not in provided:
            yield Problem(node.id, pin, "This field is required")


def _gathers(node: Node, mask: Mapping[str, Any]) -> Iterator[Problem]:
    """A node that gathers does so on the whole of its pin, and its source is known before the run."""
    gathered = node.block.gathers if node.block is not None else ""
    if not gathered:
        return
    for pin in dict.fromkeys((*node.linked, *mask)):
        if base_name(pin) == SOURCE_PIN:
            yield Problem(node.id, pin, "The source is a constant of the graph: neither a link nor an input mask gives it")
        elif pin != gathered and base_name(pin) == gathered:
            yield Problem(node.id, pin, f"Values are gathered on {gathered} as a whole, not on parts of it")


def _start(node: Node, inputs: Mapping[str, Any], mask: Mapping[str, Any]) -> Iterator[Problem]:
    """A starting node must be able to run at once."""
    if node.type in _TRIGGERS and _PAYLOAD not in mask:
        yield Problem(node.id, _PAYLOAD, "This agent is started by its trigger: the payload must come as an input mask")
        return
    data = {**given(node, inputs), **mask}
    missing = [pin for pin in node.linked if pin not in data]
    for pin in missing:
        yield Problem(node.id, pin, "No value is given for this linked pin of a starting node")
    prepared = None if missing else node.prepare(data)
    if isinstance(prepared, NotReady):
        yield Problem(node.id, prepared.missing[0] if prepared.missing else "", prepared.reason)
