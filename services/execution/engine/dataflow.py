"""The dataflow rules: how values meet at nodes, and when a node fires.

`start` makes the first firings of a run, `emit` takes an output of a firing, `advance` hands on what was held back until an earlier firing
ended. They tell the firings that became ready, in the order they were queued. `explain` says why a firing waits. Nothing here waits, reads
a clock or fails on user data, so the same calls serve a live run, a replay after a crash, and a look back at a run that ended.
"""

from collections.abc import Mapping
from typing import Any

from mesh.errors import InvalidArgumentError
from services.block.sdk import BlockType
from services.block.sdk.inputs import NotReady, Prepared
from services.block.sdk.pins import NOTHING, select_output
from services.execution.engine.gather import NO_ORIGINS, Gathering, Origins
from services.execution.engine.plan import Link, Node
from services.execution.engine.state import Firing, Lane, State
from services.execution.engine.status import Status, move

# The pin of output nodes whose values a parent run gets.
OUTPUT_PIN = "output"


def start(state: State, inputs: Mapping[str, Any]) -> list[Firing]:
    """Makes the firings that a run begins with, once, before the first event. Raises InvalidArgumentError (INPUT_INVALID) when one of
    them could not run; `checks.problems` tells all of that beforehand.
    """
    ready: list[Firing] = []
    for node in state.plan.starting:
        lane = state.lanes[node.index]
        firing = state.new_firing(lane)
        firing.arrived.update(given(node, inputs))
        prepared = _explained(lane, firing)
        if isinstance(prepared, NotReady):
            raise InvalidArgumentError(f"node {node.id}: {prepared.reason}", reason="INPUT_INVALID")
        _queue(state, lane, firing, prepared.data, ready)
    return ready


def explain(state: State, firing: Firing) -> NotReady | None:
    """Why an INCOMPLETE firing does not start; None for any other firing."""
    if firing.status is not Status.INCOMPLETE:
        return None
    prepared = _explained(state.lanes[firing.node.index], firing)
    return prepared if isinstance(prepared, NotReady) else None


def given(node: Node, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the run's inputs bring to a starting node: an input node takes the one that bears its name."""
    name = node.constants.get("name")
    if node.type is BlockType.INPUT and isinstance(name, str) and name in inputs:
        return {"value": inputs[name]}
    return {}


# --- Values meet at a node -------------------------------------------------------------------------------------------------------------


def _hand_on(state: State, source: Firing, pin: str, value: Any, ready: list[Firing]) -> None:
    """Offers an output to each link of the firing's node, in order."""
    for link in source.node.routes(pin):
        carried = value
        if link.source_pin != pin:
            carried = select_output(pin, value, link.source_pin, link.sink_id, link.sink_pin)
            if carried is NOTHING:
                continue
        if link.is_gathered:
            _gather(state, link, carried, source.origins)
        else:
            _deliver(state, link, carried, source.origins, ready)


def _deliver(state: State, link: Link, value: Any, origins: Origins, ready: list[Firing]) -> None:
    """Gives a value to the first waiting firing of the sink that lacks it, to a new one if none does."""
    lane = state.lanes[link.sink]
    pin = link.sink_pin
    place = lane.filled[pin]
    lane.filled[pin] = place + 1
    if place < len(lane.waiting):
        firing = lane.waiting[place]
    else:
        firing = state.new_firing(lane)
        lane.waiting.append(firing)
    firing.arrived[pin] = value
    if origins:
        _hold(state, lane.node, origins - firing.origins)
        firing.origins |= origins
    if _queue_if_ready(state, lane, firing, lane.remembered, ready) and link.is_static:
        # A static value also frees those that waited for it: the newest first, each with what was just queued.
        for waiting in list(reversed(lane.waiting)):
            _queue_if_ready(state, lane, waiting, firing.inputs, ready)


def _queue_if_ready(state: State, lane: Lane, firing: Firing, statics: Mapping[str, Any] | None, ready: list[Firing]) -> bool:
    node = lane.node
    data = _filled(lane, firing, statics)
    if data is not firing.arrived and any(pin not in data for pin in node.linked):
        return False
    prepared = node.prepare(data)
    if isinstance(prepared, NotReady):
        return False
    lane.leave_waiting(firing)
    _queue(state, lane, firing, prepared.data, ready)
    return True


def _filled(lane: Lane, firing: Firing, statics: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What arrived, as it is when that is everything; else a copy with empty static pins filled from `statics` and masks over all."""
    arrived = firing.arrived
    if len(arrived) == len(lane.node.linked) and not lane.mask:
        return arrived
    data = dict(arrived)
    if statics is not None:
        for pin in lane.node.static_pins:
            if pin not in data:
                data[pin] = statics.get(pin)
    data.update(lane.mask)
    return data


def _explained(lane: Lane, firing: Firing) -> Prepared | NotReady:
    data = _filled(lane, firing, lane.remembered)
    missing = tuple(pin for pin in lane.node.linked if pin not in data)
    if missing:
        return NotReady(f"no value arrived at {', '.join(missing)}", missing)
    return lane.node.prepare(data)


def _queue(state: State, lane: Lane, firing: Firing, inputs: Mapping[str, Any], ready: list[Firing]) -> None:
    firing.inputs = inputs
    firing.status = move(firing.status, Status.QUEUED)
    lane.order.append(firing)
    if lane.node.static_pins:
        lane.remembered = inputs
    if lane.node.is_output:
        state.results.append((str(inputs.get("name")), inputs.get("value")))
    state.open_count += 1
    ready.append(firing)
    if lane.node.feeds:
        _enter(state, firing)


# --- Outputs leave a node --------------------------------------------------------------------------------------------------------------


def emit(state: State, firing: Firing, pin: str, value: Any, ready: list[Firing]) -> None:
    """Outputs of a node go out in the order of its firings: those of a later firing are held until the earlier ones have ended."""
    if state.keeps_history:
        firing.outputs.append((pin, value))
    if firing.node.is_output and pin == OUTPUT_PIN:
        state.handed_up.append((str(firing.inputs.get("name")), value))
    if state.lanes[firing.node.index].order[0] is firing:
        _hand_on(state, firing, pin, value, ready)
    else:
        if firing.held is None:
            firing.held = []
        firing.held.append((pin, value))


def advance(state: State, lane: Lane, ready: list[Firing]) -> None:
    """Retires the ended firings at the head of the node's order, and hands on what the next ones held."""
    order = lane.order
    while order and order[0].status.is_ended:
        ended = order.popleft()
        if not state.keeps_history:
            state.forget(ended)
        if lane.node.feeds:
            _leave(state, ended, ready)
        if order and order[0].held:
            head = order[0]
            held, head.held = head.held, None
            for pin, value in held or ():
                _hand_on(state, head, pin, value, ready)


# --- Values are gathered ---------------------------------------------------------------------------------------------------------------


def _fed(state: State, node: Node) -> list[Gathering]:
    """The lists that what comes of the node may add to, those further upstream first, since they feed the others."""
    return [gathering for gathering in (state.lanes[at].gathering for at in node.feeds) if gathering is not None]


def _hold(state: State, node: Node, origins: Origins) -> None:
    """Something waits at the node, for other values or for the end of a list."""
    if origins and node.feeds:
        for gathering in _fed(state, node):
            gathering.hold(origins)


def _release(state: State, node: Node, origins: Origins) -> None:
    if origins and node.feeds:
        for gathering in _fed(state, node):
            gathering.release(origins)


def _gather(state: State, link: Link, value: Any, origins: Origins) -> None:
    lane = state.lanes[link.sink]
    if lane.gathering is not None:
        for added in lane.gathering.take(value, origins):
            _hold(state, lane.node, added)


def _enter(state: State, firing: Firing) -> None:
    """A firing is queued that Collect nodes wait for. One of a source is an origin, instead of an earlier one of the same node."""
    node = firing.node
    if firing.origins:
        _release(state, node, firing.origins)
    if node.is_source:
        own = (node.index, firing.index)
        firing.origins = frozenset(origin for origin in firing.origins if origin[0] != node.index) | {own}
        begun = [gathering for gathering in _fed(state, node) if gathering.gather.source == node.index]
        for gathering in begun:
            gathering.open(own, firing.origins)
        # An unfinished list holds back those further down, which must be there by then.
        for gathering in begun:
            _hold(state, state.plan.nodes[gathering.gather.link.sink], firing.origins)
    for gathering in _fed(state, node):
        gathering.enter(firing.origins)


def _leave(state: State, firing: Firing, ready: list[Firing]) -> None:
    """Such a firing is retired: lists that are complete by that are delivered."""
    fed = _fed(state, firing.node)
    for gathering in fed:
        gathering.leave(firing.origins)
    for gathering in fed:
        link = gathering.gather.link
        for parts in gathering.complete():
            origins = NO_ORIGINS
            for part in parts:
                _release(state, state.plan.nodes[link.sink], part.origins)
                origins |= part.origins
            kept = frozenset(origin for origin in origins if origin[0] != gathering.gather.cut)
            _deliver(state, link, [value for part in parts for value in part.values], kept, ready)
