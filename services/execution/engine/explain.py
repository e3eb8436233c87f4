"""Why the nodes of a run fired as often as they did, from the run's state alone. Needs a state that keeps history."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh import jsontext
from services.block.sdk import BlockType
from services.block.sdk.inputs import NotReady
from services.block.sdk.pins import NOTHING, base_name, select_output
from services.execution.engine.dataflow import explain
from services.execution.engine.plan import Link, Node
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status

# Of values and reasons: how many are told, and how much of each.
TOLD = 5
MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class PinSource:
    """A link to a pin: firings of its source that started, those of them that failed with the error of the first, cut after MAX_CHARS, and
    values that came over it.
    """

    node_id: str
    pin: str
    firing_count: int
    value_count: int
    failed_count: int = 0
    first_error: str = ""


@dataclass(frozen=True, slots=True)
class PinExplanation:
    """What came to a pin. `constant`, `waiting_values` and `misfits` are JSON texts and sentences, cut after MAX_CHARS."""

    pin: str
    is_required: bool
    is_static: bool
    sources: Sequence[PinSource]
    constant: str
    received_count: int
    waiting_count: int
    waiting_values: Sequence[str]
    misfits: Sequence[str]


@dataclass(frozen=True, slots=True)
class NodeExplanation:
    """Why a node fired so often, or not at all: in words, and by status and pin."""

    node_id: str
    block_id: str
    summary: str
    firings: Mapping[Status, int]
    pins: Sequence[PinExplanation]


def explain_nodes(state: State, node_id: str = "") -> list[NodeExplanation]:
    """The nodes of the graph in its order, or only the one that is named."""
    of_node: dict[int, list[Firing]] = {node.index: [] for node in state.plan.nodes}
    for firing in state.firings.values():
        of_node[firing.node.index].append(firing)
    view = _View(state, of_node)
    return [view.node(node) for node in state.plan.nodes if node_id in ("", node.id)]


class _View:
    """A state, looked at node by node."""

    def __init__(self, state: State, of_node: Mapping[int, list[Firing]]) -> None:
        self._state = state
        self._of_node = of_node
        self._incoming: dict[int, list[tuple[Node, Link]]] = {node.index: [] for node in state.plan.nodes}
        for node in state.plan.nodes:
            for link in node.links:
                self._incoming[link.sink].append((node, link))

    def node(self, node: Node) -> NodeExplanation:
        firings = Counter(firing.status for firing in self._of_node[node.index])
        waiting = [firing for firing in self._of_node[node.index] if firing.status is Status.INCOMPLETE]
        reasons = [(firing, why) for firing in waiting[:TOLD] if (why := explain(self._state, firing)) is not None]
        pins = [self._pin(node, pin, waiting, reasons) for pin in _pins(node)]
        return NodeExplanation(node.id, node.block_id, self._summary(node, firings, pins, reasons), dict(sorted(firings.items())), pins)

    def _pin(self, node: Node, pin: str, waiting: Sequence[Firing], reasons: Sequence[tuple[Firing, NotReady]]) -> PinExplanation:
        sources = [self._source(source, link) for source, link in self._incoming[node.index] if link.sink_pin == pin]
        holders = [firing for firing in waiting if pin in firing.arrived]
        is_gathered = node.gather is not None and node.gather.link.sink_pin == pin
        came = sum(pin in firing.arrived for firing in self._of_node[node.index])
        return PinExplanation(
            pin=pin,
            is_required=pin in node.required,
            is_static=pin in node.static_pins,
            sources=sources,
            constant=_text(node.constants[pin]) if pin in node.constants else "",
            received_count=sum(source.value_count for source in sources) if is_gathered else came,
            waiting_count=len(holders),
            waiting_values=[_text(firing.arrived[pin]) for firing in holders[:TOLD]],
            misfits=[misfit for firing, why in reasons if (misfit := _misfit(pin, firing, why))],
        )

    def _source(self, source: Node, link: Link) -> PinSource:
        firings = self._of_node[source.index]
        values = sum(
            select_output(pin, value, link.source_pin, link.sink_id, link.sink_pin) is not NOTHING
            for firing in firings
            for pin, value in firing.outputs
        )
        started = sum(firing.attempt >= 0 for firing in firings)
        failed = [firing for firing in firings if firing.status is Status.FAILED]
        first_error = failed[0].error[:MAX_CHARS] if failed else ""
        return PinSource(source.id, link.source_pin, started, values - self._held_back(source, link), len(failed), first_error)

    def _held_back(self, source: Node, link: Link) -> int:
        """Values that wait for an earlier firing of their node to end."""
        held = [output for firing in self._state.lanes[source.index].order for output in firing.held or ()]
        return sum(select_output(pin, value, link.source_pin, link.sink_id, link.sink_pin) is not NOTHING for pin, value in held)

    # --- In words -----------------------------------------------------------------------------------------------------------------------

    def _summary(
        self, node: Node, firings: Mapping[Status, int], pins: Sequence[PinExplanation], reasons: Sequence[tuple[Firing, NotReady]]
    ) -> str:
        if node.type is BlockType.NOTE:
            return "It is a remark and never runs."
        ready = firings.get(Status.QUEUED, 0)
        fired = sum(count for status, count in firings.items() if status is not Status.INCOMPLETE) - ready
        more = f", {ready} more {'is' if ready == 1 else 'are'} ready" if ready else ""
        if fired:
            said = [f"It fired {_times(fired)}{more}{self._why(node, fired + ready, pins)}."]
        elif ready:
            said = [f"It is ready to fire {_times(ready)}{self._why(node, ready, pins)}."]
        else:
            said = [f"It did not fire{self._why_not(node, pins)}."]
        waits_for = _READY if self._state.started_us else "ready, waiting for the run to begin"
        standing = [f"{ready} {waits_for}"] if ready else []
        standing += [f"{firings[status]} {what}" for status, what in _STANDING.items() if firings.get(status)]
        if standing:
            said.append(f"Of its firings: {', '.join(standing)}{f' ({_first(reasons)})' if reasons else ''}.")
        return " ".join(said)

    def _why(self, node: Node, fired: int, pins: Sequence[PinExplanation]) -> str:
        linked = [pin for pin in pins if pin.sources]
        if node in self._state.plan.starting:
            return ": it starts with the run" if fired == 1 else ": once with the run, then for the values that came"
        if node.gather is not None:
            came = f": {_values(linked[0].received_count)} came to {linked[0].pin}"
            if node.gather.source is not None:
                return f"{came}, and there is a list for each run of {self._state.plan.nodes[node.gather.source].id}"
            return f"{came}, and those that were new made a list each time that all before it was done"
        if len(linked) == 1:
            return f": {_values(linked[0].received_count)} came to {linked[0].pin}"
        came = ", ".join(f"{pin.received_count} to {pin.pin}{' (kept for later firings)' if pin.is_static else ''}" for pin in linked)
        return f": each firing takes a value from each linked pin, and there came {came}"

    def _why_not(self, node: Node, pins: Sequence[PinExplanation]) -> str:
        linked = [pin for pin in pins if pin.sources]
        if not linked:
            return ": the run has not begun"
        if node.gather is not None:
            return ": what it gathers is not complete" if any(pin.received_count for pin in linked) else f": {self._from(linked[0])}"
        empty = [pin for pin in linked if not pin.received_count and not (pin.is_static and self._state.lanes[node.index].remembered)]
        if empty:
            return ": " + "; ".join(f"no value came to {pin.pin}, {self._from(pin)}" for pin in empty)
        misfits = [misfit for pin in pins for misfit in pin.misfits]
        if misfits:
            return f": {misfits[0]}"
        return ": the values that came do not make a complete input"

    def _from(self, pin: PinExplanation) -> str:
        """Where a value for the pin would have come from, and why it did not."""
        return " and ".join(_silence(source) for source in pin.sources)


_READY = "ready, waiting for one of the places that the firings of a run have (max_parallel_nodes)"
_STANDING: Mapping[Status, str] = {
    Status.RUNNING: "at work",
    Status.REVIEW: "waiting for a person",
    Status.WAITING: "waiting for a time, another run or the next attempt",
    Status.FAILED: "failed",
    Status.TERMINATED: "stopped",
    Status.INCOMPLETE: "not complete",
}


def _pins(node: Node) -> Iterable[str]:
    """Those with a link or a constant, and those that the block needs."""
    return dict.fromkeys((*node.linked, *node.constants, *node.required))


def _silence(source: PinSource) -> str:
    if not source.firing_count:
        return f"since {source.node_id} did not fire"
    if not source.value_count and source.failed_count:
        fired = "" if source.firing_count == 1 else f"fired {_times(source.firing_count)}, "
        failed = "failed" if source.firing_count == 1 else f"failed {_times(source.failed_count)}"
        return f"since {source.node_id} {fired}{failed} ({source.first_error}) and gave nothing on {source.pin}"
    if not source.value_count:
        return f"since {source.node_id} fired {_times(source.firing_count)} and gave nothing on {source.pin}"
    return f"though {source.node_id} gave {_values(source.value_count)} on {source.pin}"


def _misfit(pin: str, firing: Firing, why: NotReady) -> str:
    """Why the value at the pin keeps the firing from running; empty when it does not."""
    if pin not in firing.arrived:
        return ""
    if pin in why.missing:
        return f"{pin}: null came, and a value is required"
    is_of_path = base_name(pin) != pin and not why.missing and ": " not in why.reason
    return why.reason[:MAX_CHARS] if is_of_path or why.reason.startswith(f"{base_name(pin)}: ") else ""


def _first(reasons: Sequence[tuple[Firing, NotReady]]) -> str:
    return reasons[0][1].reason[:MAX_CHARS] if reasons else "a value"


def _text(value: Any) -> str:
    text = jsontext.dumps(value)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"
