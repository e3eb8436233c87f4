"""The graphs that `treadle bench` runs. Pure."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# Ids that the catalogue of every stack has.
STORE_VALUE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
PRINT = "f3b1c1b2-4c4f-4f0d-8d2f-4c4f0d8d2f4c"
DELAY = "5d3f0d0e-6d7c-4c62-9a7b-1f5f0f0c4f1a"
STEP_THROUGH = "f66a3543-28d3-4ab5-8945-9b336371e2ce"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """A graph and how many firings a run of it must have."""

    name: str
    graph: Json
    firings: int


def chain(nodes: int, effect: str) -> Workload:
    """Nodes in a row, each handing one value on. `effect` is "pure" or "effectful" (each step waits for its commit)."""
    block, pin_in, pin_out = (STORE_VALUE, "input", "output") if effect == "pure" else (PRINT, "text", "output")
    ids = [f"n{n}" for n in range(nodes)]
    return Workload(
        f"chain-{nodes}-{effect}",
        {
            "name": f"bench chain {nodes} {effect}",
            "nodes": [_node(node, block, {pin_in: "go"} if node == ids[0] else {}) for node in ids],
            "links": [_link(a, pin_out, b, pin_in) for a, b in pairwise(ids)],
        },
        nodes,
    )


def fanout(width: int, depth: int = 1) -> Workload:
    """A generator that emits `width` values, each to a firing of its own; with more `depth`, each to a generator of its own."""
    items: Any = list(range(width))
    for _ in range(depth - 1):
        items = [items] * width
    ids = [f"items{level}" for level in range(depth)]
    nodes = [_node(node, STEP_THROUGH, {"items": items} if node == ids[0] else {}) for node in ids]
    links = [_link(a, "item", b, "items") for a, b in pairwise(ids)]
    return Workload(
        f"fanout-{width}" if depth == 1 else f"fanout-{width}^{depth}",
        {
            "name": f"bench fanout {width} {depth}",
            "nodes": [*nodes, _node("each", STORE_VALUE, {})],
            "links": [*links, _link(ids[-1], "item", "each", "input")],
        },
        sum(width**level for level in range(depth + 1)),
    )


def start() -> Workload:
    """A single node: what remains is the way to the worker and back."""
    return Workload("start", {"name": "bench start", "nodes": [_node("only", STORE_VALUE, {"input": "go"})], "links": []}, 1)


def waiting() -> Workload:
    """A single node that waits for an hour."""
    return Workload("waiting", {"name": "bench waiting", "nodes": [_node("only", DELAY, {"input": "go", "seconds": 3600})], "links": []}, 1)


def _node(node_id: str, block_id: str, constants: Json) -> Json:
    return {"id": node_id, "block_id": block_id, "input_default": constants, "metadata": {}}


def _link(source: str, out: str, sink: str, into: str) -> Json:
    return {"source_id": source, "source_name": out, "sink_id": sink, "sink_name": into}
