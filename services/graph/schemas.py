"""The inputs and outputs of an agent as JSON Schemas, derived from its input and output nodes."""

from collections.abc import Iterator
from typing import Any

from services.graph.catalogue import INPUT, OUTPUT, BlockView, Catalogue
from services.graph.model import Graph

# Notes to editors that stand with a pin of a block and would be wrong with an input of an agent.
_PIN_WORDS = frozenset({"title", "description", "default", "secret", "advanced", "hidden", "placeholder"})


def input_schema(graph: Graph, catalogue: Catalogue) -> dict[str, Any]:
    """What an execution takes: one property per input name, required when its node has no value of its own."""
    return _schema(graph, catalogue, INPUT)


def output_schema(graph: Graph, catalogue: Catalogue) -> dict[str, Any]:
    """What an execution gives: one property per output name."""
    return _schema(graph, catalogue, OUTPUT)


def _schema(graph: Graph, catalogue: Catalogue, kind: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for block, constants in _nodes(graph, catalogue, kind):
        name = str(constants["name"])
        properties[name] = _property(name, block, constants, kind)
        if constants.get("value") is None and name not in required:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _nodes(graph: Graph, catalogue: Catalogue, kind: str) -> Iterator[tuple[BlockView, dict[str, Any]]]:
    for node in graph.nodes:
        block = catalogue.get(node.block_id)
        if block is None or block.type != kind:
            continue
        constants = node.constants
        if constants and constants.get("name") is not None:
            yield block, constants


def _property(name: str, block: BlockView, constants: dict[str, Any], kind: str) -> dict[str, Any]:
    value = constants.get("value")
    found: dict[str, Any] = {"advanced": bool(constants.get("advanced")) and value is not None}
    if kind == INPUT:
        found |= {word: part for word, part in block.inputs.get("value", {}).items() if word not in _PIN_WORDS}
        found |= _choices(block, constants)
    found["secret"] = bool(constants.get("secret"))
    found["title"] = constants.get("title") or name
    if constants.get("description"):
        found["description"] = constants["description"]
    if value is not None and not found["secret"]:
        found["default"] = value
    return found


def _choices(block: BlockView, constants: dict[str, Any]) -> dict[str, Any]:
    """What a drop-down offers, and the columns of a table."""
    options = constants.get("options") or constants.get("placeholder_values")
    if options and isinstance(options, list) and _has_pin(block, "options"):
        return {"enum": options}
    if _has_pin(block, "column_headers"):
        given = constants.get("column_headers")
        headers = given if given and isinstance(given, list) else block.inputs["column_headers"].get("default") or []
        columns = {str(header): {"type": "string"} for header in headers}
        return {"type": "array", "format": "table", "items": {"type": "object", "properties": columns}}
    return {}


def _has_pin(block: BlockView, name: str) -> bool:
    return name in block.inputs or (name == "options" and "placeholder_values" in block.inputs)
