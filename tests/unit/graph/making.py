"""Graphs and documents for tests, written short."""

from typing import Any

from services.graph.model import Graph, Link, Node, raw_value
from tests.unit.graph.installed import block_id


def node(name: str, block: str, /, **constants: Any) -> Node:
    """A node named `name` with a block of the library; `block` may be an id, too."""
    return Node(name, block if "-" in block else block_id(block), raw_value(constants))


def link(text: str) -> Link:
    """A link from `a.pin -> b.pin`."""
    source, sink = text.split(" -> ")
    source_id, source_name = source.split(".", 1)
    sink_id, sink_name = sink.split(".", 1)
    return Link(text, source_id, source_name, sink_id, sink_name)


def graph(*parts: Node | str, **more: Any) -> Graph:
    """A graph of nodes and links."""
    return Graph(
        name=more.pop("name", "test"),
        nodes=tuple(part for part in parts if isinstance(part, Node)),
        links=tuple(link(part) for part in parts if isinstance(part, str)),
        **more,
    )


def calculator() -> Graph:
    """Adds 34 to its input."""
    return graph(
        node("in", "AgentInputBlock", name="Input"),
        node("sum", "CalculatorBlock", b=34, operation="Add"),
        node("out", "AgentOutputBlock", name="Output"),
        "in.result -> sum.a",
        "sum.result -> out.value",
    )


def exported_calculator() -> dict[str, Any]:
    """The same as AutoGPT exports it: links repeated in the nodes, computed fields, flags that need correcting."""
    found = calculator()
    nodes: list[dict[str, Any]] = [
        {
            "id": item.id,
            "block_id": item.block_id,
            "input_default": item.constants,
            "metadata": {"position": {"x": -188.25, "y": 95}},
            "input_links": [],
            "output_links": [],
            "graph_id": "858e2226-e047-4d19-a832-3be4a134d155",
            "graph_version": 2,
            "webhook_id": None,
        }
        for item in found.nodes
    ]
    links = [
        {"id": item.id, "source_id": item.source_id, "sink_id": item.sink_id, "source_name": item.source_name, "sink_name": item.sink_name}
        for item in found.links
    ]
    return {
        "id": "858e2226-e047-4d19-a832-3be4a134d155",
        "version": 2,
        "is_active": True,
        "name": "Calculator agent",
        "description": "",
        "instructions": None,
        "recommended_schedule_cron": None,
        "nodes": nodes,
        "links": [{**item, "is_static": False} for item in links],
        "sub_graphs": [],
        "credentials_input_schema": {"type": "object", "properties": {}, "required": []},
    }
