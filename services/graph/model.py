"""What a graph is. The same structs are the stored document: free-form JSON stays the text it came as."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec

from mesh import jsontext
from services.graph.catalogue import BlockView, Catalogue

# The block that runs another graph as a node; its pins are those of the schemas stored with the node.
AGENT_BLOCK_ID = "e189baac-8c20-45a1-94a7-55177ea42565"

_EMPTY_OBJECT = msgspec.Raw(b"{}")


class Node(msgspec.Struct, frozen=True):
    """A placed block. `input_default` and `metadata` are JSON text that should hold an object."""

    id: str
    block_id: str
    input_default: msgspec.Raw = _EMPTY_OBJECT
    metadata: msgspec.Raw = _EMPTY_OBJECT

    @property
    def constants(self) -> dict[str, Any] | None:
        """The constants by pin, or None when the text is not a JSON object."""
        return parse_object(bytes(self.input_default))


class Link(msgspec.Struct, frozen=True):
    """A wire from an output pin to an input pin. The pin names may carry a path into the value."""

    id: str
    source_id: str
    source_name: str
    sink_id: str
    sink_name: str
    is_static: bool = False


class Graph(msgspec.Struct, frozen=True):
    """An agent. `id` and `version` are the owner's business for the top graph and tell embedded ones apart."""

    name: str
    id: str = ""
    version: int = 1
    description: str = ""
    instructions: str = ""
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    sub_graphs: tuple["Graph", ...] = ()


def block_ids(graph: Graph) -> frozenset[str]:
    """Ids of the blocks that the graph uses, in sub-graphs too."""
    return frozenset(node.block_id for node in graph.nodes).union(*(block_ids(sub) for sub in graph.sub_graphs))


def parse_object(text: bytes | str) -> dict[str, Any] | None:
    """The JSON object in `text` (empty text is the empty object), or None when it holds something else."""
    if not text:
        return {}
    try:
        value = jsontext.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def raw(text: str) -> msgspec.Raw:
    """JSON text as a part of a document; empty text becomes the empty object."""
    return msgspec.Raw(text.encode()) if text else _EMPTY_OBJECT


def raw_value(value: Any) -> msgspec.Raw:
    """A value as a part of a document."""
    return msgspec.Raw(jsontext.dumps(value).encode())


def settle(graph: Graph, catalogue: Catalogue) -> Graph:
    """The graph as it is saved: every link has an id and the static flag of its source block, in sub-graphs too.

    A source block that is not installed leaves the flag as it is. Ids that are missing follow from the graph: the same graph is settled the
    same way each time.
    """
    blocks = {node.id: catalogue.get(node.block_id) for node in graph.nodes}
    return msgspec.structs.replace(
        graph,
        links=tuple(_settled_links(graph.links, blocks)),
        sub_graphs=tuple(
            settle(msgspec.structs.replace(sub, id=sub.id or _id_of("sub_graph", str(index)), version=sub.version or 1), catalogue)
            for index, sub in enumerate(graph.sub_graphs)
        ),
    )


def _settled_links(links: tuple[Link, ...], sources: Mapping[str, BlockView | None]) -> Iterator[Link]:
    taken = {link.id for link in links}
    # Links without an id between the same pins so far.
    twins: Counter[tuple[str, ...]] = Counter()
    for link in links:
        source = sources.get(link.source_id)
        is_static = link.is_static if source is None else source.static_output
        if link.id and is_static == link.is_static:
            yield link
        else:
            yield msgspec.structs.replace(link, id=link.id or _new_link_id(link, taken, twins), is_static=is_static)


def _new_link_id(link: Link, taken: set[str], twins: Counter[tuple[str, ...]]) -> str:
    ends = link.source_id, link.source_name, link.sink_id, link.sink_name
    while True:
        made = _id_of(*ends, str(twins[ends]))
        twins[ends] += 1
        if made not in taken:
            return made


def _id_of(*parts: str) -> str:
    return str(uuid5(NAMESPACE_OID, "\0".join(parts)))
