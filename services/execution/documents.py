"""Graphs as documents: JSON text, in which constants and metadata stay exactly as they are."""

from typing import Any

import msgspec
import orjson
from treadle.graph.v1 import graph_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

_EMPTY_OBJECT = msgspec.Raw(b"{}")


class _Node(msgspec.Struct):
    id: str
    block_id: str
    input_default: msgspec.Raw = _EMPTY_OBJECT
    metadata: msgspec.Raw = _EMPTY_OBJECT


class _Link(msgspec.Struct):
    source_id: str
    source_name: str
    sink_id: str
    sink_name: str
    id: str = ""
    is_static: bool = False


class _Graph(msgspec.Struct):
    id: str = ""
    version: int = 0
    name: str = ""
    description: str = ""
    instructions: str = ""
    nodes: list[_Node] = []
    links: list[_Link] = []
    sub_graphs: list["_Graph"] = []


_DOCUMENT = msgspec.json.Decoder(_Graph)


def graph_message(text: str) -> pb.Graph:
    """The graph of a document."""
    return _message(_DOCUMENT.decode(text))


def _message(graph: _Graph) -> pb.Graph:
    return pb.Graph(
        id=graph.id,
        version=graph.version,
        name=graph.name,
        description=graph.description,
        instructions=graph.instructions,
        nodes=[
            pb.Node(
                id=node.id,
                block_id=node.block_id,
                input_default=JsonValue(json=bytes(node.input_default).decode()),
                metadata=JsonValue(json=bytes(node.metadata).decode()),
            )
            for node in graph.nodes
        ],
        links=[pb.Link(**msgspec.structs.asdict(link)) for link in graph.links],
        sub_graphs=map(_message, graph.sub_graphs),
    )


def document_text(graph: pb.Graph) -> str:
    """The graph as a document: JSON text, with constants and metadata exactly as they are stored."""
    return orjson.dumps(_document(graph)).decode()


def _document(graph: pb.Graph) -> dict[str, Any]:
    return {
        "id": graph.id,
        "version": graph.version,
        "name": graph.name,
        "description": graph.description,
        "instructions": graph.instructions,
        "nodes": [
            {
                "id": node.id,
                "block_id": node.block_id,
                "input_default": orjson.Fragment(node.input_default.json or "{}"),
                "metadata": orjson.Fragment(node.metadata.json or "{}"),
            }
            for node in graph.nodes
        ],
        "links": [
            {
                "id": link.id,
                "source_id": link.source_id,
                "source_name": link.source_name,
                "sink_id": link.sink_id,
                "sink_name": link.sink_name,
                "is_static": link.is_static,
            }
            for link in graph.links
        ],
        "sub_graphs": [_document(sub_graph) for sub_graph in graph.sub_graphs],
    }
