"""Graph documents for the tests."""

from typing import Any

INPUT = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
OUTPUT = "363ae599-353e-4804-937e-b2ee3cef3da4"
STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
STEP = "f66a3543-28d3-4ab5-8945-9b336371e2ce"
TIMER = "d67a9c52-5e4e-11e2-bcfd-0800200c9a71"
REPLACE = "7e7c87ab-3469-4bcc-9abe-67705091b713"
TOUCH = "touch"
PAUSE = "pause"
DRIP = "drip"
POISON = "poison"
STUCK = "stuck"
TIDY = "tidy"


def node(id: str, block_id: str, **constants: Any) -> dict[str, Any]:
    """A node."""
    return {"id": id, "block_id": block_id, "input_default": constants, "metadata": {}}


def link(source: str, sink: str) -> dict[str, Any]:
    """A link, from `node.pin` to `node.pin`."""
    source_id, _, source_name = source.partition(".")
    sink_id, _, sink_name = sink.partition(".")
    return {"id": f"{source}-{sink}", "source_id": source_id, "source_name": source_name, "sink_id": sink_id, "sink_name": sink_name}


def document(nodes: list[dict[str, Any]], links: list[dict[str, Any]]) -> dict[str, Any]:
    """A graph."""
    return {"name": "test", "nodes": nodes, "links": links}


def chain(length: int, block_id: str = CALCULATOR, **constants: Any) -> dict[str, Any]:
    """Input X, `length` nodes one after the other, output R. Calculators add one each; touches hand on."""
    is_sum = block_id == CALCULATOR
    constants = {"operation": "Add", "b": 1} if is_sum else constants
    source_pin, sink_pin = ("result", "a") if is_sum else ("value", "value")
    nodes = [node("in", INPUT, name="X"), *(node(f"n{at}", block_id, **constants) for at in range(length)), node("out", OUTPUT, name="R")]
    links = [link("in.result", f"n0.{sink_pin}"), link(f"n{length - 1}.{source_pin}", "out.value")]
    links += [link(f"n{at}.{source_pin}", f"n{at + 1}.{sink_pin}") for at in range(length - 1)]
    return document(nodes, links)


def endless() -> dict[str, Any]:
    """A cycle without an exit."""
    nodes = [node("in", INPUT, name="X"), node("sum", CALCULATOR, operation="Add", b=1)]
    return document(nodes, [link("in.result", "sum.a"), link("sum.result", "sum.a")])
