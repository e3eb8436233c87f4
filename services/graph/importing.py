"""Takes documents in: Treadle's own, AutoGPT's plain graphs, and the marketplace's wrapper around them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mesh.ids import uuid7
from services.graph.catalogue import Catalogue
from services.graph.errors import document_invalid
from services.graph.foreign import OLD_BLOCK_IDS, CredentialHint, credential_hints, foreign_blocks, needed_credential
from services.graph.model import AGENT_BLOCK_ID, Graph, Link, Node, raw_value, settle
from services.graph.secrets import without_secrets

DEFAULT_NAME = "Imported agent"
# The limits of the contract, which a document does not pass on its way in.
_MAX_NAME = 500
_MAX_TEXT = 20_000
_MAX_ID = 100
_MAX_PIN = 1000
_MAX_ITEMS = {"nodes": 10_000, "links": 50_000, "output_links": 50_000, "input_links": 50_000, "sub_graphs": 100, "subgraphs": 100}
# What older exports call the list of embedded graphs.
_SUB_GRAPHS = ("sub_graphs", "subgraphs")
# Where nodes of AutoGPT's exports tell of the links at them.
_NODE_LINKS = ("output_links", "input_links")
_LINK_WORDS = ("source_id", "source_name", "sink_id", "sink_name")


@dataclass(slots=True)
class Report:
    """What an import did. `unknown_blocks`: block id to (name, nodes); `needed_credentials`: (provider, kind) to nodes."""

    unknown_blocks: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    needed_credentials: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


def import_document(document: dict[str, Any], catalogue: Catalogue) -> tuple[Graph, Report]:
    """Reads a document into a graph that can be saved. Raises InvalidArgumentError (DOCUMENT_INVALID) when it is no graph at all."""
    reader = _Reader(catalogue)
    graph = reader.read(_graph_of(document, reader.report))
    return graph, reader.report


def _graph_of(document: dict[str, Any], report: Report) -> dict[str, Any]:
    """The graph inside its wrapper, if it has one: `graph_data` (marketplace) or `graph` (the body of AutoGPT's own import)."""
    for word in ("graph_data", "graph"):
        inner = document.get(word)
        if "nodes" not in document and isinstance(inner, dict):
            report.changes.append(f"Took the graph out of {word!r}")
            outer = {key: document[key] for key in ("name", "description", "instructions") if isinstance(document.get(key), str)}
            document = {**outer, **{key: value for key, value in inner.items() if value is not None}}
    if "nodes" not in document:
        raise document_invalid("document", "this is no agent: it has neither `nodes` nor `graph_data`")
    return document


class _Reader:
    """One import. Graph ids are given anew; node ids are kept as long as they can serve."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.report = Report()
        self._catalogue = catalogue
        # For each link, in the order they are read: whether the document says if it is static.
        self._flags: list[bool] = []
        # Embedded graphs: (old id, version) to the new id.
        self._sub_ids: dict[tuple[str, int], str] = {}

    def read(self, document: dict[str, Any]) -> Graph:
        hints = credential_hints(document)
        flat = list(_sub_documents(document))
        if len(flat) > _MAX_ITEMS["sub_graphs"]:
            raise document_invalid("sub_graphs", f"must not hold more than {_MAX_ITEMS['sub_graphs']:,} items, nested ones included")
        for index, sub in enumerate(flat):
            if _key(sub, index) in self._sub_ids:
                raise document_invalid(f"sub_graphs[{index}].id", "another sub-graph has this id and version already")
            self._sub_ids[_key(sub, index)] = uuid7()
        subs = tuple(self._graph(sub, f"sub_graphs[{index}].", hints, self._sub_ids[_key(sub, index)]) for index, sub in enumerate(flat))
        before = self._graph(document, "", hints, "")
        graph = settle(msgspec.structs.replace(before, sub_graphs=subs), self._catalogue)
        self._report_flags((*subs, before), (*graph.sub_graphs, graph))
        return graph

    def _graph(self, document: dict[str, Any], path: str, hints: list[CredentialHint], graph_id: str) -> Graph:
        names: dict[str, str] = {}
        nodes = tuple(
            self._node(item, f"{path}nodes[{index}]", names, hints) for index, item in enumerate(_objects(document, "nodes", path))
        )
        link_ids: set[str] = set()
        links = tuple(self._link(item, place, names, link_ids) for place, item in _links(document, path))
        return Graph(
            id=graph_id,
            version=_version(document),
            name=(_text(document, "name", path).strip() or DEFAULT_NAME)[:_MAX_NAME],
            description=_text(document, "description", path),
            instructions=_text(document, "instructions", path),
            nodes=nodes,
            links=links,
        )

    def _node(self, item: dict[str, Any], path: str, names: dict[str, str], hints: list[CredentialHint]) -> Node:
        node_id = self._node_id(item, path, names)
        block_id = self._block_id(item, path, node_id)
        constants = _object(item, "input_default", path)
        needed = needed_credential(block_id, constants, hints)
        if needed is not None:
            self.report.needed_credentials.setdefault(needed, []).append(node_id)
        constants, dropped = without_secrets(constants, self._catalogue.get(block_id))
        for name in dropped:
            self.report.changes.append(f"Left out the secret {name!r} of node {node_id}")
        if block_id == AGENT_BLOCK_ID:
            constants = self._agent(constants, node_id)
        return Node(node_id, block_id, raw_value(constants), raw_value(_object(item, "metadata", path)))

    def _node_id(self, item: dict[str, Any], path: str, names: dict[str, str]) -> str:
        given = item.get("id")
        if not isinstance(given, str) or not given or "\x00" in given:
            raise document_invalid(f"{path}.id", "a node needs an id")
        if given in names:
            raise document_invalid(f"{path}.id", f"another node has the id {given!r} already")
        names[given] = given if len(given) <= _MAX_ID else uuid7()
        return names[given]

    def _block_id(self, item: dict[str, Any], path: str, node_id: str) -> str:
        given = item.get("block_id")
        if not isinstance(given, str) or not 0 < len(given) <= _MAX_ID or "\x00" in given:
            raise document_invalid(f"{path}.block_id", f"a node needs the id of its block, at most {_MAX_ID} characters")
        block_id = given
        if self._catalogue.get(given) is None and given in OLD_BLOCK_IDS:
            block_id = OLD_BLOCK_IDS[given]
            self.report.changes.append(f"Replaced the old block id {given} of node {node_id} by {block_id}")
        if self._catalogue.get(block_id) is None:
            known = foreign_blocks().get(block_id)
            self.report.unknown_blocks.setdefault(block_id, (known.name if known else "", []))[1].append(node_id)
        return block_id

    def _agent(self, constants: dict[str, Any], node_id: str) -> dict[str, Any]:
        """Joins an agent node to its embedded graph: by id, else to the only one of that version (exports often carry a foreign id)."""
        constants.pop("user_id", None)
        old, version = constants.get("graph_id"), constants.get("graph_version")
        new = self._sub_ids.get((str(old), version if isinstance(version, int) else 0))
        if new is None:
            same_version = [new_id for (_, number), new_id in self._sub_ids.items() if number == version]
            if len(same_version) == 1:
                new = same_version[0]
                self.report.changes.append(
                    f"Joined node {node_id} to the embedded graph of version {version}: its own, {old}, is not in the file"
                )
        if new is None:
            self.report.changes.append(f"Node {node_id} runs the graph {old}, which is not in the file")
            return constants
        return {**constants, "graph_id": new}

    def _link(self, item: dict[str, Any], path: str, names: dict[str, str], link_ids: set[str]) -> Link:
        parts = {word: item.get(word) for word in _LINK_WORDS}
        for word, part in parts.items():
            if not isinstance(part, str) or not 0 < len(part) <= _MAX_PIN or "\x00" in part:
                raise document_invalid(f"{path}.{word}", "a link needs the id of a node and the name of a pin at both ends")
        source_id, source_name, sink_id, sink_name = (str(part) for part in parts.values())
        given = item.get("id")
        is_usable = isinstance(given, str) and 0 < len(given) <= _MAX_ID and "\x00" not in given and given not in link_ids
        link_id = str(given) if is_usable else uuid7()
        link_ids.add(link_id)
        return Link(
            id=link_id,
            source_id=names.get(source_id, source_id),
            source_name=source_name,
            sink_id=names.get(sink_id, sink_id),
            sink_name=sink_name,
            is_static=self._said_static(item),
        )

    def _said_static(self, item: dict[str, Any]) -> bool:
        """What the document says of a link; where it says nothing, nothing is reported as changed later."""
        said = item.get("is_static")
        self._flags.append(said is not None)
        return said is True

    def _report_flags(self, before: tuple[Graph, ...], after: tuple[Graph, ...]) -> None:
        was_said = iter(self._flags)
        for old, new in zip(before, after, strict=True):
            for was, is_now in zip(old.links, new.links, strict=True):
                if next(was_said) and was.is_static != is_now.is_static:
                    self.report.changes.append(
                        f"Set is_static of the link {is_now.source_id}.{is_now.source_name} -> {is_now.sink_id}.{is_now.sink_name} "
                        f"to {str(is_now.is_static).lower()}, as its source block says"
                    )


def _sub_documents(document: dict[str, Any], path: str = "") -> Iterator[dict[str, Any]]:
    """The embedded graphs, flat; very old exports have an empty object in their place."""
    for word in _SUB_GRAPHS:
        if document.get(word):
            for index, sub in enumerate(_objects(document, word, path)):
                yield sub
                yield from _sub_documents(sub, f"{path}{word}[{index}].")


def _links(document: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The links with their places: those of the graph, else those that its nodes tell of, each once."""
    listed = _objects(document, "links", path)
    for index, item in enumerate(listed):
        yield f"{path}links[{index}]", item
    if listed:
        return
    seen: set[tuple[str, ...]] = set()
    for word in _NODE_LINKS:
        for node_index, node in enumerate(_objects(document, "nodes", path)):
            place = f"{path}nodes[{node_index}]."
            for index, item in enumerate(_objects(node, word, place)):
                # Both ends of a link tell of it.
                key = tuple(str(item.get(part)) for part in ("id", *_LINK_WORDS))
                if key not in seen:
                    seen.add(key)
                    yield f"{place}{word}[{index}]", item
    if len(seen) > _MAX_ITEMS["links"]:
        raise document_invalid(f"{path}links", f"must not hold more than {_MAX_ITEMS['links']:,} items")


def _key(document: dict[str, Any], index: int) -> tuple[str, int]:
    return str(document.get("id") or index), _version(document)


def _version(document: dict[str, Any]) -> int:
    version = document.get("version")
    return version if isinstance(version, int) and not isinstance(version, bool) and 0 < version < 1 << 31 else 1


def _objects(document: dict[str, Any], word: str, path: str) -> list[dict[str, Any]]:
    items = document.get(word)
    if items is None:
        return []
    if not isinstance(items, list):
        raise document_invalid(f"{path}{word}", "must be a list")
    if len(items) > _MAX_ITEMS[word]:
        raise document_invalid(f"{path}{word}", f"must not hold more than {_MAX_ITEMS[word]:,} items")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise document_invalid(f"{path}{word}[{index}]", "must be an object")
    return items


def _object(item: dict[str, Any], word: str, path: str) -> dict[str, Any]:
    value = item.get(word)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise document_invalid(f"{path}.{word}", "must be an object")
    return dict(value)


def _text(document: dict[str, Any], word: str, path: str) -> str:
    value = document.get(word)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise document_invalid(f"{path}{word}", "must be a text")
    if len(value) > _MAX_TEXT:
        raise document_invalid(f"{path}{word}", f"must not be longer than {_MAX_TEXT:,} characters")
    # The database cannot hold it; all other text has passed the checks of the contract.
    return value.replace("\x00", "")
