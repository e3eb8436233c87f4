"""Short ways to write graphs, in the tests of the engine."""

from collections.abc import Mapping, Sequence
from typing import Any

INPUT = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
OUTPUT = "363ae599-353e-4804-937e-b2ee3cef3da4"
STEP = "f66a3543-28d3-4ab5-8945-9b336371e2ce"
STORE = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
CALCULATOR = "b1ab9b19-67a6-406d-abf5-2dba76d00c79"
CONDITION = "715696a0-e1da-45c8-b209-c2fa9c3b0be6"
LIST_ITEM = "262ca24c-1025-43cf-a578-534e23234e97"
DICTIONARY = "b924ddf4-de4f-4b56-9a85-358930dcbc91"
COMBINE = "e30a4d42-7b7d-4e6a-b36e-1f9b8e3b7d85"
NOTE = "cc10ff7b-7753-4ff2-9af6-9399b1a7eddc"


def graph(nodes: Mapping[str, tuple[str, Mapping[str, Any]]], links: Sequence[str]) -> dict[str, Any]:
    """A graph document: `nodes` are id to (block id, constants), `links` are `source.pin -> sink.pin`."""
    return {
        "nodes": [{"id": id, "block_id": block_id, "input_default": dict(constants)} for id, (block_id, constants) in nodes.items()],
        "links": [link(text) for text in links],
    }


def link(text: str) -> dict[str, str]:
    """`a.result -> b.value` as a link of a document."""
    source, _, sink = text.partition(" -> ")
    source_id, _, source_name = source.partition(".")
    sink_id, _, sink_name = sink.partition(".")
    return {"source_id": source_id, "source_name": source_name, "sink_id": sink_id, "sink_name": sink_name}
