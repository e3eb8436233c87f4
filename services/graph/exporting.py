"""Gives graphs out as documents that any installation can import."""

from typing import Any

from mesh import jsontext
from services.graph.catalogue import Catalogue
from services.graph.model import Graph, parse_object
from services.graph.schemas import input_schema, output_schema
from services.graph.secrets import without_secrets
from services.graph.versions import Head


def export_document(graph: Graph, head: Head, catalogue: Catalogue) -> str:
    """The version as JSON text with AutoGPT's field names, secrets left out."""
    document = {**_document(graph, catalogue), "id": head.id, "version": head.version, "is_active": head.is_active}
    document["sub_graphs"] = [_document(sub, catalogue) for sub in graph.sub_graphs]
    document["input_schema"] = input_schema(graph, catalogue)
    document["output_schema"] = output_schema(graph, catalogue)
    return jsontext.dumps(document)


def _document(graph: Graph, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "id": graph.id,
        "version": graph.version,
        "name": graph.name,
        "description": graph.description,
        "instructions": graph.instructions or None,
        "nodes": [
            {
                "id": node.id,
                "block_id": node.block_id,
                "input_default": without_secrets(node.constants or {}, catalogue.get(node.block_id))[0],
                "metadata": parse_object(bytes(node.metadata)) or {},
            }
            for node in graph.nodes
        ],
        "links": [
            {
                "id": link.id,
                "source_id": link.source_id,
                "sink_id": link.sink_id,
                "source_name": link.source_name,
                "sink_name": link.sink_name,
                "is_static": link.is_static,
            }
            for link in graph.links
        ],
    }
