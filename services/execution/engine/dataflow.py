"""The dataflow rules: how values meet at nodes, and when a node fires.

`start` makes the first firings of a run and `apply` folds one event into its state; both return the firings that became ready, in the order
they were queued. `explain` says why a firing waits. Nothing here waits, reads a clock or fails on user data, so the same calls serve a live
run, a replay after a crash, and a look back at a run that ended.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mesh.errors import InvalidArgumentError
from services.block.sdk import BlockType
from services.block.sdk.inputs import NotReady, Prepared
from services.block.sdk.outputs import ERROR_PIN
from services.block.sdk.pins import NOTHING, select_output
from services.execution.engine.events import Event, EventKind
from services.execution.engine.plan import Link, Node
from services.execution.engine.state import Firing, JournalError, Lane, State
from services.execution.engine.status import Status, move


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


def apply(state: State, event: Event) -> list[Firing]:
    """Folds the next event of the journal. Raises JournalError or IllegalTransitionError when it cannot be the next."""
    ready: list[Firing] = []
    _FOLDS[event.kind](state, event, ready)
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


def _hand_on(state: State, node: Node, pin: str, value: Any, ready: list[Firing]) -> None:
    """Offers an output to each link of the node, in order."""
    for link in node.routes(pin):
        carried = value
        if link.source_pin != pin:
            carried = select_output(pin, value, link.source_pin, link.sink_id, link.sink_pin)
            if carried is NOTHING:
                continue
        _deliver(state, link, carried, ready)


def _deliver(state: State, link: Link, value: Any, ready: list[Firing]) -> None:
    """Gives a value to the first waiting firing of the sink that lacks it, to a new one if none does."""
    lane = state.lanes[link.sink]
    place = lane.filled[link.sink_pin]
    lane.filled[link.sink_pin] = place + 1
    if place < len(lane.waiting):
        firing = lane.waiting[place]
    else:
        firing = state.new_firing(lane)
        lane.waiting.append(firing)
    firing.arrived[link.sink_pin] = value
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
    if lane.node.type is BlockType.OUTPUT:
        state.results.append((str(inputs.get("name")), inputs.get("value")))
    state.open_count += 1
    ready.append(firing)


# --- Events of a firing ----------------------------------------------------------------------------------------------------------------


def _node_started(state: State, event: Event, ready: list[Firing]) -> None:
    """The first attempt, one more after an interruption, or the one after a review."""
    firing = state.firing(event.firing)
    if event.ordinal != firing.attempt + 1:
        raise JournalError(f"attempt {event.ordinal} of firing {firing.index} follows attempt {firing.attempt}")
    firing.attempt = event.ordinal
    firing.started_us = event.time_us
    if firing.status is Status.RUNNING:
        return
    if firing.status is Status.REVIEW:
        state.review_count -= 1
        state.open_count += 1
    firing.status = move(firing.status, Status.RUNNING)


def _node_output(state: State, event: Event, ready: list[Firing]) -> None:
    firing = state.firing(event.firing)
    if firing.status is not Status.RUNNING:
        raise JournalError(f"firing {firing.index} is {firing.status.name} and cannot emit")
    if event.ordinal != firing.emitted:
        raise JournalError(f"output {event.ordinal} of firing {firing.index} follows {firing.emitted} outputs")
    firing.emitted += 1
    state.emission_count += 1
    _emit(state, firing, event.pin, event.value, ready)


def _node_completed(state: State, event: Event, ready: list[Firing]) -> None:
    firing = state.firing(event.firing)
    _end(state, firing, Status.COMPLETED, event)
    _advance(state, state.lanes[firing.node.index], ready)


def _node_failed(state: State, event: Event, ready: list[Firing]) -> None:
    """The failure goes out on the pin `error`, behind what the firing emitted before."""
    firing = state.firing(event.firing)
    _end(state, firing, Status.FAILED, event)
    state.failed_count += 1
    _emit(state, firing, ERROR_PIN, event.error, ready)
    _advance(state, state.lanes[firing.node.index], ready)


def _node_terminated(state: State, event: Event, ready: list[Firing]) -> None:
    """The run is being stopped, so what later firings of the node hold stays with them."""
    _end(state, state.firing(event.firing), Status.TERMINATED, event)


def _node_review(state: State, event: Event, ready: list[Firing]) -> None:
    firing = state.firing(event.firing)
    firing.status = move(firing.status, Status.REVIEW)
    state.open_count -= 1
    state.review_count += 1


def _emit(state: State, firing: Firing, pin: str, value: Any, ready: list[Firing]) -> None:
    """Outputs of a node go out in the order of its firings: those of a later firing are held until the earlier ones have ended."""
    if state.keeps_history:
        firing.outputs.append((pin, value))
    if state.lanes[firing.node.index].order[0] is firing:
        _hand_on(state, firing.node, pin, value, ready)
    else:
        firing.held.append((pin, value))


def _advance(state: State, lane: Lane, ready: list[Firing]) -> None:
    """Retires the ended firings at the head of the node's order, and hands on what the next ones held."""
    order = lane.order
    while order and order[0].status.is_ended:
        ended = order.popleft()
        if not state.keeps_history:
            state.forget(ended)
        if order and order[0].held:
            head = order[0]
            held, head.held = head.held, []
            for pin, value in held:
                _hand_on(state, head.node, pin, value, ready)


def _end(state: State, firing: Firing, status: Status, event: Event) -> None:
    if firing.status is Status.REVIEW:
        state.review_count -= 1
    else:
        state.open_count -= 1
    if firing.started_us:
        state.ended_count += 1
        state.node_time_us += event.time_us - firing.started_us
    firing.status = move(firing.status, status)
    firing.ended_us = event.time_us
    firing.error = event.error


# --- Events of the run -----------------------------------------------------------------------------------------------------------------


def _run_queued(state: State, event: Event, ready: list[Firing]) -> None:
    """The state begins as QUEUED."""


def _run_started(state: State, event: Event, ready: list[Firing]) -> None:
    state.status = move(state.status, Status.RUNNING)
    state.started_us = event.time_us


def _run_resumed(state: State, event: Event, ready: list[Firing]) -> None:
    """Another worker goes on. What was at work is started again by a NODE_STARTED of its own."""
    if state.status is not Status.RUNNING:
        state.status = move(state.status, Status.RUNNING)


def _run_review(state: State, event: Event, ready: list[Firing]) -> None:
    state.status = move(state.status, Status.REVIEW)


def _run_ended(state: State, event: Event, ready: list[Firing]) -> None:
    """Firings that are still open share the fate of the run."""
    status = _ENDS[event.kind]
    if status is Status.COMPLETED and (state.open_count or state.review_count):
        raise JournalError("the run completed although firings are open")
    state.status = move(state.status, status)
    state.ended_us = event.time_us
    state.error = event.error
    for lane in state.lanes:
        for firing in lane.order:
            if not firing.status.is_ended:
                _end(state, firing, status, event)


_ENDS: Mapping[EventKind, Status] = {
    EventKind.EXECUTION_COMPLETED: Status.COMPLETED,
    EventKind.EXECUTION_FAILED: Status.FAILED,
    EventKind.EXECUTION_TERMINATED: Status.TERMINATED,
}

_FOLDS: Mapping[EventKind, Callable[[State, Event, list[Firing]], None]] = {
    EventKind.EXECUTION_QUEUED: _run_queued,
    EventKind.EXECUTION_STARTED: _run_started,
    EventKind.EXECUTION_RESUMED: _run_resumed,
    EventKind.EXECUTION_REVIEW: _run_review,
    EventKind.EXECUTION_COMPLETED: _run_ended,
    EventKind.EXECUTION_FAILED: _run_ended,
    EventKind.EXECUTION_TERMINATED: _run_ended,
    EventKind.NODE_STARTED: _node_started,
    EventKind.NODE_OUTPUT: _node_output,
    EventKind.NODE_COMPLETED: _node_completed,
    EventKind.NODE_FAILED: _node_failed,
    EventKind.NODE_REVIEW: _node_review,
    EventKind.NODE_TERMINATED: _node_terminated,
}
