"""What runs during the chaos: small graphs whose results are known, of each kind of block that crashes differently."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INPUT = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
OUTPUT = "363ae599-353e-4804-937e-b2ee3cef3da4"
CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
STEP = "f66a3543-28d3-4ab5-8945-9b336371e2ce"
STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
WEB_REQUEST = "6595ae1f-b924-42cb-9a41-551a0611c4b4"
PRINT = "f3b1c1b2-4c4f-4f0d-8d2f-4c4f0d8d2f4c"
HUMAN = "8b2a7b3c-6e9d-4a5f-8c1b-2e3f4a5b6c7d"
AGENT = "e189baac-8c20-45a1-94a7-55177ea42565"
DELAY = "5d3f0d0e-6d7c-4c62-9a7b-1f5f0f0c4f1a"

ITEMS = [{"n": number} for number in range(4)]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A graph, and what its output R holds for an input X.

    `may_be_cut_off`: it has effects that may not be repeated, so a crash may leave a firing failed and outputs missing.
    `asks`: somebody must approve. `is_modelled`: the sequential model knows its blocks' pins.
    """

    name: str
    graph: Json
    expected: Callable[[int], list[Any]]
    may_be_cut_off: bool = False
    asks: bool = False
    is_modelled: bool = True


def kinds(effect_url: str) -> list[Kind]:
    """All that need no other."""
    return [
        Kind("pure", _graph(_chain(CALCULATOR, "a", "result", 6, operation="Add", b=1)), lambda x: [x + 6]),
        Kind("printed", _graph(_chain(PRINT, "text", "output", 5)), lambda x: [x], may_be_cut_off=True),
        Kind("sent", _graph(_sent(effect_url)), lambda _: ITEMS),
        Kind("delayed", _graph(_chain(DELAY, "input", "output", 2, seconds=1.6)), lambda x: [x]),
        Kind("asked", _graph(_chain(HUMAN, "data", "approved_data", 1, name="?")), lambda x: [x], asks=True),
        Kind("awaited", _graph(_chain(DELAY, "input", "output", 3, seconds=0.4)), lambda x: [x]),
    ]


def nested(graph_id: str, inner: Kind) -> Kind:
    """Runs another, which is saved under this id, as an execution of its own."""
    schema = {"type": "object", "properties": {"X": {}}, "required": []}
    constants = {"graph_id": graph_id, "graph_version": 1, "user_id": "", "inputs": {}, "input_schema": schema}
    constants["output_schema"] = {"type": "object", "properties": {"R": {}}}
    graph = _graph(_chain(AGENT, "X", "R", 1, **constants))
    return Kind(f"nested {inner.name}", graph, inner.expected, inner.may_be_cut_off, is_modelled=False)


def _graph(parts: tuple[list[Json], list[Json]]) -> Json:
    return {"name": "chaos", "description": "", "nodes": parts[0], "links": parts[1]}


def _chain(block_id: str, pin_in: str, pin_out: str, length: int, **constants: Any) -> tuple[list[Json], list[Json]]:
    nodes = [
        _node("in", INPUT, name="X"),
        *(_node(f"n{at}", block_id, **constants) for at in range(length)),
        _node("out", OUTPUT, name="R"),
    ]
    links = [_link("in", "result", "n0", pin_in), _link(f"n{length - 1}", pin_out, "out", "value")]
    links += [_link(f"n{at}", pin_out, f"n{at + 1}", pin_in) for at in range(length - 1)]
    return nodes, links


def _sent(url: str) -> tuple[list[Json], list[Json]]:
    nodes = [
        _node("items", STEP, items=ITEMS),
        _node("send", WEB_REQUEST, url=url),
        _node("keep", STORE),
        _node("out", OUTPUT, name="R"),
    ]
    links = [_link("items", "item", "send", "body"), _link("send", "response", "keep", "input"), _link("keep", "output", "out", "value")]
    return nodes, links


def _node(node_id: str, block_id: str, **constants: Any) -> Json:
    return {"id": node_id, "block_id": block_id, "input_default": constants, "metadata": {}}


def _link(source: str, out: str, sink: str, into: str) -> Json:
    return {"id": f"{source}-{sink}", "source_id": source, "source_name": out, "sink_id": sink, "sink_name": into}
