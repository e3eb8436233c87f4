"""The rules for handing values on, as plainly as they can be said. The engine must agree with this on every graph.

It scans all firings each time and knows nothing of masks, dynamic pins or converted types; blocks take any value on their pins.
"""

from dataclasses import dataclass, field
from typing import Any

from services.execution.engine.plan import Link, Node, Plan


@dataclass
class Attempt:
    """One firing. `queued` is its place in the queue order of the run; None while it waits."""

    node: Node
    rows: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    queued: int | None = None
    outputs: list[tuple[str, Any]] = field(default_factory=list)
    has_ended: bool = False
    handed_on: int = 0


class Model:
    """One run. `attempts` are in the order they came to be, `queue` in the order they became ready."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.attempts: list[Attempt] = []
        self.queue: list[Attempt] = []
        for node in plan.starting:
            self.attempts.append(Attempt(node))
            self._queue(self.attempts[-1], dict(node.constants))

    def emit(self, attempt: Attempt, pin: str, value: Any) -> None:
        """An output."""
        attempt.outputs.append((pin, value))
        self._hand_on(attempt.node)

    def end(self, attempt: Attempt) -> None:
        """The end of a firing, after all its outputs."""
        attempt.has_ended = True
        self._hand_on(attempt.node)

    def _hand_on(self, node: Node) -> None:
        for attempt in [item for item in self.queue if item.node is node]:
            while attempt.handed_on < len(attempt.outputs):
                pin, value = attempt.outputs[attempt.handed_on]
                attempt.handed_on += 1
                for link in node.links:
                    if link.source_pin == pin:
                        self._deliver(link, value)
            if not attempt.has_ended:
                return

    def _deliver(self, link: Link, value: Any) -> None:
        sink = self.plan.nodes[link.sink]
        waiting = [item for item in self.attempts if item.node is sink and item.queued is None]
        chosen = next((item for item in waiting if link.sink_pin not in item.rows), None)
        if chosen is None:
            chosen = Attempt(sink)
            self.attempts.append(chosen)
            waiting.append(chosen)
        chosen.rows[link.sink_pin] = value
        earlier = [item for item in self.queue if item.node is sink]
        if self._try(chosen, earlier[-1].inputs if earlier else None) and link.is_static:
            for item in reversed(waiting):
                if item is not chosen:
                    self._try(item, chosen.inputs)

    def _try(self, attempt: Attempt, statics: dict[str, Any] | None) -> bool:
        data = dict(attempt.rows)
        if statics is not None:
            data.update({pin: statics.get(pin) for pin in attempt.node.static_pins if pin not in data})
        inputs = {**attempt.node.constants, **data}
        if not set(attempt.node.linked) <= data.keys() or any(inputs.get(pin) is None for pin in attempt.node.required):
            return False
        self._queue(attempt, inputs)
        return True

    def _queue(self, attempt: Attempt, inputs: dict[str, Any]) -> None:
        attempt.inputs = inputs
        attempt.queued = len(self.queue)
        self.queue.append(attempt)
