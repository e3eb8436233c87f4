"""Graph files: JSON as it is, and YAML for people, in which nodes have names, blocks too, and links are arrows."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mesh import jsontext
from mesh.cli.output import CliError, Exit

YAML_SUFFIXES = {".yaml", ".yml"}
_LINK = re.compile(r"^\s*(?P<source>[^.\s]+)\.(?P<out>.+?)\s*->\s*(?P<sink>[^.\s]+)\.(?P<into>.+?)\s*$")
_NODE_KEYS = {"block", "input", "name", "position"}
_GRAPH_KEYS = {"id", "name", "description", "instructions", "nodes", "links"}
_COLUMN_WIDTH = 350
_TAGS_OF_OLD = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool"}


def read_document(path: Path, block_ids: "BlockIds") -> str:
    """The JSON text of a graph file. JSON passes untouched; YAML is translated. Raises CliError (bad input) that names the fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path} cannot be read: {error}", Exit.BAD_INPUT) from error
    if path.suffix.lower() not in YAML_SUFFIXES:
        _check_json(path, text)
        return text
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise CliError(f"{path} is not YAML: {error}", Exit.BAD_INPUT) from error
    if not isinstance(document, dict):
        raise CliError(f"{path} must hold a mapping with `nodes` and `links`.", Exit.BAD_INPUT)
    # YAML may also hold a document in the full form, where nodes are a list.
    graph = document if isinstance(document.get("nodes"), list) else to_graph(document, path.stem, block_ids)
    try:
        return jsontext.dumps(graph)
    except TypeError as error:
        raise CliError(f"{path} holds a value that JSON has no word for: {error}", Exit.BAD_INPUT) from error


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: dates stay text, and only true and false are booleans, not yes, no, on and off."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in the base class
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _TAGS_OF_OLD]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


class BlockIds:
    """Ids of blocks by class name, with or without the ending `Block`. The catalogue is fetched when the first name is asked for."""

    def __init__(self, fetch: "Any") -> None:
        """`fetch()` returns the catalogue as a mapping of name to id."""
        self._fetch = fetch
        self._ids: Mapping[str, str] | None = None

    def find(self, name: str) -> str:
        """The id of the block. A name that is an id is returned as it is. Raises CliError (bad input) for unknown names."""
        if self._ids is None:
            self._ids = self._fetch()
        known = set(self._ids.values())
        found = name if name in known else self._ids.get(name) or self._ids.get(f"{name}Block")
        if found is None:
            raise CliError(f"There is no block {name!r}. `GET /v1/blocks` lists all.", Exit.BAD_INPUT)
        return found


def to_graph(document: Mapping[str, Any], name: str, block_ids: BlockIds) -> dict[str, Any]:
    """Translates the form for people. The names of the nodes become their ids."""
    _refuse_unknown("the document", document, _GRAPH_KEYS)
    nodes = document.get("nodes")
    if not isinstance(nodes, dict) or not nodes:
        raise CliError("`nodes` must be a mapping of names to nodes.", Exit.BAD_INPUT)
    graph = {key: document[key] for key in ("id", "instructions") if key in document}
    return {
        **graph,
        "name": document.get("name", name),
        "description": document.get("description", ""),
        "nodes": [_node(str(key), value, index, block_ids) for index, (key, value) in enumerate(nodes.items())],
        "links": [_link(text, nodes) for text in document.get("links") or ()],
    }


def _node(name: str, node: Any, index: int, block_ids: BlockIds) -> dict[str, Any]:
    if not isinstance(node, dict) or not isinstance(node.get("block"), str):
        raise CliError(f"nodes.{name} must be a mapping with `block`.", Exit.BAD_INPUT)
    _refuse_unknown(f"nodes.{name}", node, _NODE_KEYS)
    position = node.get("position") or {"x": index * _COLUMN_WIDTH, "y": 0}
    return {
        "id": name,
        "block_id": block_ids.find(node["block"]),
        "input_default": node.get("input") or {},
        "metadata": {"position": position, "customized_name": node.get("name", name)},
    }


def _link(text: Any, nodes: Mapping[str, Any]) -> dict[str, Any]:
    match = _LINK.match(text) if isinstance(text, str) else None
    if match is None:
        raise CliError(f"links: {text!r} is not of the form `node.pin -> node.pin`.", Exit.BAD_INPUT)
    for end in ("source", "sink"):
        if match[end] not in nodes:
            raise CliError(f"links: {text!r} names the node {match[end]!r}, which is not in `nodes`.", Exit.BAD_INPUT)
    return {"source_id": match["source"], "source_name": match["out"], "sink_id": match["sink"], "sink_name": match["into"]}


def _refuse_unknown(where: str, mapping: Mapping[str, Any], known: set[str]) -> None:
    unknown = [str(key) for key in mapping if key not in known]
    if unknown:
        raise CliError(f"{where} has unknown keys: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.", Exit.BAD_INPUT)


def _check_json(path: Path, text: str) -> None:
    try:
        jsontext.loads(text)
    except ValueError as error:
        raise CliError(f"{path} is not JSON: {error}", Exit.BAD_INPUT) from error
