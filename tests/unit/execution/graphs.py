"""Short ways to write graphs and journals, in the tests of the engine."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.block.sdk import Block, BlockInput, BlockRegistry, BlockResult, BlockType, pin
from services.execution.engine.events import Event, EventKind
from services.execution.engine.fold import apply
from services.execution.engine.plan import Plan
from services.execution.engine.state import Firing, State

EXECUTION_ID = "0199c0de-0000-7000-8000-000000000001"


class _Silent(Block):
    """The tests say what comes out of these blocks; the engine only needs their pins."""

    async def run(self, input: Any, ctx: Any) -> BlockResult:
        for output in list[tuple[str, Any]]():
            yield output


class Value(_Silent):
    """Takes a named value, as an agent's input does, and keeps it for its sinks."""

    id = "value"
    block_type = BlockType.INPUT
    static_output = True

    class Input(BlockInput):
        name: str = pin()
        value: Any = pin(None)


class Pass(_Silent):
    """One required pin of any kind."""

    id = "pass"

    class Input(BlockInput):
        a: Any = pin()


class Pair(_Silent):
    """Two pins with defaults."""

    id = "pair"

    class Input(BlockInput):
        a: Any = pin(None)
        b: Any = pin(None)


class Keep(Pair):
    """As Pair; its sinks remember what it emits."""

    id = "keep"
    static_output = True


class Number(_Silent):
    """A pin that is converted and one that cannot be."""

    id = "number"

    class Input(BlockInput):
        a: float = pin()
        b: Any = pin(None)
        items: list[Any] = pin(default_factory=list)


class Result(_Silent):
    """An output of the run."""

    id = "result"
    block_type = BlockType.OUTPUT
    static_output = True

    class Input(BlockInput):
        name: str = pin()
        value: Any = pin(None)


class Remark(_Silent):
    """A note."""

    id = "remark"
    block_type = BlockType.NOTE

    class Input(BlockInput):
        text: str = pin()


class Trigger(_Silent):
    """Started by a webhook."""

    id = "trigger"
    block_type = BlockType.WEBHOOK_MANUAL

    class Input(BlockInput):
        payload: dict[str, Any] = pin()


class Gather(_Silent):
    """Gathers what comes to `item`."""

    id = "gather"
    gathers = "item"

    class Input(BlockInput):
        item: Any = pin()
        source: str = pin("")


class Retired(Pass):
    """Cannot be used any more."""

    id = "retired"
    is_disabled = True


BLOCKS = BlockRegistry([Value, Pass, Pair, Keep, Number, Result, Remark, Trigger, Gather, Retired])


def graph(nodes: Mapping[str, tuple[str, Mapping[str, Any]] | str], links: Sequence[str] = ()) -> dict[str, Any]:
    """A graph document: `nodes` are id to block id, or to (block id, constants); `links` are `source.pin -> sink.pin`."""
    listed = []
    for node_id, node in nodes.items():
        block_id, constants = (node, {}) if isinstance(node, str) else node
        listed.append({"id": node_id, "block_id": block_id, "input_default": constants})
    return {"nodes": listed, "links": [link(text) for text in links]}


def link(text: str) -> dict[str, str]:
    """`a.result -> b.value` as a link of a document."""
    source, _, sink = text.partition(" -> ")
    source_id, _, source_name = source.partition(".")
    sink_id, _, sink_name = sink.partition(".")
    return {"source_id": source_id, "source_name": source_name, "sink_id": sink_id, "sink_name": sink_name}


def plan(nodes: Mapping[str, tuple[str, Mapping[str, Any]] | str], links: Sequence[str] = ()) -> Plan:
    """The plan of a graph of the blocks above."""
    return Plan.compile(graph(nodes, links), BLOCKS)


class Journal:
    """Writes a run by hand: each call folds one event and returns the inputs of the firings that became ready."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.events: list[Event] = []
        self.time_us = 1_000_000
        self.write(EventKind.EXECUTION_STARTED)

    def write(self, kind: EventKind, firing: Firing | None = None, **details: Any) -> list[Firing]:
        """Folds an event."""
        event = Event(kind, self.time_us, -1 if firing is None else firing.index, **details)
        self.events.append(event)
        self.time_us += 1
        return apply(self.state, event)

    def begin(self, firing: Firing) -> Firing:
        """Starts a firing, or starts it again."""
        self.write(EventKind.NODE_STARTED, firing, ordinal=firing.attempt + 1)
        return firing

    def emit(self, firing: Firing, pin: str, value: Any) -> list[Firing]:
        """Its next output."""
        return self.write(EventKind.NODE_OUTPUT, firing, ordinal=firing.emitted, pin=pin, value=value)

    def complete(self, firing: Firing) -> list[Firing]:
        """Ends it well."""
        return self.write(EventKind.NODE_COMPLETED, firing)

    def fail(self, firing: Firing, error: str) -> list[Firing]:
        """Ends it with a failure."""
        return self.write(EventKind.NODE_FAILED, firing, error=error)
