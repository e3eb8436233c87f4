"""Firings as callers see them."""

from collections.abc import Mapping

from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from services.execution.engine.dataflow import explain
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from services.execution.engine.waits import Waiting, WaitKind
from services.execution.firing_index import Place
from services.execution.lines import Line, Names, Renderer, ref_message, timestamp

_WAITS: Mapping[WaitKind, "pb.WaitKind.ValueType"] = {
    WaitKind.REVIEW: pb.WAIT_KIND_REVIEW,
    WaitKind.INTERRUPTION: pb.WAIT_KIND_REVIEW,
    WaitKind.TIMER: pb.WAIT_KIND_TIMER,
    WaitKind.CHILD: pb.WAIT_KIND_CHILD,
    WaitKind.RETRY: pb.WAIT_KIND_RETRY,
}
# What has arrived at a firing that waits for more is kept nowhere else; beyond this it is not shown.
_MAX_ARRIVED_CHARS = 256 * 1024


class FiringMessages:
    """Writes the firings of one execution."""

    def __init__(self, execution_id: str, names: Names, state: State, max_parallel_nodes: int) -> None:
        """`state` is the execution as it stands, for firings that are not over."""
        self._execution_id = execution_id
        self._renderer = Renderer(execution_id, names.nodes)
        self._state = state
        self._max_parallel = max_parallel_nodes

    def of(self, place: Place, lines: Mapping[int, Line]) -> pb.NodeExecution:
        """A firing, with those of its events that `lines` has by seq."""
        node_id, block_id, firing_id = self._renderer.firing(place.node, place.nth)
        message = pb.NodeExecution(
            id=firing_id,
            execution_id=self._execution_id,
            node_id=node_id,
            block_id=block_id,
            status=int(place.status),  # type: ignore[arg-type]  # same numbers
            output_count=place.output_count,
            outputs=[_output(lines[seq]) for seq in place.outputs if seq in lines],
        )
        if place.started:
            line = lines[place.started]
            message.attempt = line.ordinal
            message.start_time.CopyFrom(timestamp(line.time_us))
            if line.ref:
                message.inputs_ref.CopyFrom(ref_message(line))
            else:
                message.inputs.json = bytes(line.value).decode()
        if place.ended:
            message.error = lines[place.ended].error
            message.end_time.CopyFrom(timestamp(lines[place.ended].time_us))
        if place.live is not None:
            self._add_live(message, place.live)
        return message

    def _add_live(self, message: pb.NodeExecution, firing: Firing) -> None:
        """What the journal does not say of a firing that never started, or is not over."""
        if not firing.started_us:
            arrived = jsontext.dumps(firing.arrived if firing.status is Status.INCOMPLETE else firing.inputs)
            if len(arrived) <= _MAX_ARRIVED_CHARS:
                message.inputs.json = arrived
        if firing.ended_us and not message.HasField("end_time"):
            message.end_time.CopyFrom(timestamp(firing.ended_us))
        why = explain(self._state, firing)
        message.error = why.reason if why else firing.error or message.error or self._throttle(firing)
        if firing.wait is not None:
            message.wait.CopyFrom(_wait(firing.wait))

    def _throttle(self, firing: Firing) -> str:
        if firing.status is not Status.QUEUED:
            return ""
        running = sum(1 for other in self._state.firings.values() if other.status is Status.RUNNING)
        if running < self._max_parallel:
            return ""
        return f"{running} nodes of this execution are at work, as many as may be at the same time"


def _output(line: Line) -> pb.NodeOutput:
    if line.ref:
        return pb.NodeOutput(pin=line.pin, value_ref=ref_message(line))
    return pb.NodeOutput(pin=line.pin, value=JsonValue(json=bytes(line.value).decode()))


def _wait(wait: Waiting) -> pb.NodeWait:
    message = pb.NodeWait(kind=_WAITS[wait.kind], execution_id=str(wait.value.get("execution_id") or ""))
    if wait.until_us is not None:
        message.until.CopyFrom(timestamp(wait.until_us))
    return message
