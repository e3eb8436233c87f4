"""What may be wrong with a graph. All problems come at once, each with the node and the field it concerns."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from services.graph.catalogue import AGENT, INPUT, NOTE, OUTPUT, WEBHOOKS, BlockView, Catalogue
from services.graph.model import AGENT_BLOCK_ID, Graph, Link, Node, block_ids, parse_object
from services.graph.pins import base_name, is_credentials_pin, is_tool_pin

# Blocks whose required inputs are demanded on save already: a graph cannot be described without them.
_CHECKED_ON_SAVE = frozenset({INPUT, OUTPUT, AGENT})
_ERROR_PIN = "error"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong. `field` is the pin or field for people; `path` leads to it from the graph, such as `nodes[2].input_default.a`."""

    node_id: str
    field: str
    message: str
    path: str


@dataclass(frozen=True, slots=True)
class _Placed:
    """A node with what is known about it. `block` is None when it is not installed, `constants` when they are not an object."""

    index: int
    node: Node
    block: BlockView | None
    constants: dict[str, Any] | None
    linked: set[str] = field(default_factory=set)

    @property
    def is_agent(self) -> bool:
        return self.node.block_id == AGENT_BLOCK_ID or (self.block is not None and self.block.type == AGENT)

    def problem(self, name: str, message: str, path: str = "") -> Problem:
        where = f"nodes[{self.index}].{path or f'input_default.{name}'}"
        return Problem(self.node.id, name, message, where)


def validate(graph: Graph, catalogue: Catalogue, *, for_run: bool = False, tolerated: frozenset[str] = frozenset()) -> list[Problem]:
    """All problems of the graph and its sub-graphs; empty when it can be saved (with `for_run`: run).

    `tolerated` are ids of blocks that are accepted although they are not installed: their nodes are placeholders.
    """
    check = _Check(graph, catalogue, for_run, tolerated)
    problems = list(check.problems())
    seen: set[tuple[str, int]] = set()
    for index, sub in enumerate(graph.sub_graphs):
        if sub.id and (sub.id, sub.version) in seen:
            problems.append(Problem("", f"sub_graphs[{index}].id", f"another sub-graph has the id {sub.id!r}", f"sub_graphs[{index}].id"))
        seen.add((sub.id, sub.version))
        problems += [
            Problem(found.node_id, _nested(index, found.field), found.message, f"sub_graphs[{index}].{found.path}")
            for found in validate(sub, catalogue, for_run=for_run, tolerated=tolerated)
        ]
    return problems


def unknown_block_ids(graph: Graph, catalogue: Catalogue) -> frozenset[str]:
    """Ids of blocks that the graph uses and that are not installed, in sub-graphs too."""
    return frozenset(block_id for block_id in block_ids(graph) if catalogue.get(block_id) is None)


def _nested(index: int, name: str) -> str:
    return f"sub_graphs[{index}].{name}" if name.startswith(("links[", "nodes[")) else name


class _Check:
    """One pass over one graph."""

    def __init__(self, graph: Graph, catalogue: Catalogue, for_run: bool, tolerated: frozenset[str]) -> None:
        self._graph = graph
        self._catalogue = catalogue
        self._for_run = for_run
        self._tolerated = tolerated
        self._placed = [_Placed(index, node, catalogue.get(node.block_id), node.constants) for index, node in enumerate(graph.nodes)]
        self._by_id = {placed.node.id: placed for placed in reversed(self._placed)}

    def problems(self) -> Iterator[Problem]:
        if not self._graph.name:
            yield Problem("", "name", "a graph needs a name", "name")
        yield from self._duplicates()
        for index, link in enumerate(self._graph.links):
            yield from self._link(index, link)
        for placed in self._placed:
            yield from self._node(placed)
        if self._for_run:
            yield from self._starts()

    def _duplicates(self) -> Iterator[Problem]:
        nodes = Counter(node.id for node in self._graph.nodes)
        for placed in self._placed:
            if nodes[placed.node.id] > 1 and self._by_id[placed.node.id] is not placed:
                yield placed.problem("id", f"another node has the id {placed.node.id!r} already", "id")
        seen: set[str] = set()
        for index, link in enumerate(self._graph.links):
            if link.id and link.id in seen:
                yield _link_problem(index, "id", f"another link has the id {link.id!r} already")
            seen.add(link.id)

    def _link(self, index: int, link: Link) -> Iterator[Problem]:
        source, sink = self._by_id.get(link.source_id), self._by_id.get(link.sink_id)
        if source is None:
            yield _link_problem(index, "source_id", f"there is no node with the id {link.source_id!r}", link.sink_id if sink else "")
        else:
            yield from self._source_pin(index, link, source)
        if sink is None:
            yield _link_problem(index, "sink_id", f"there is no node with the id {link.sink_id!r}", link.source_id if source else "")
        else:
            sink.linked.add(base_name(link.sink_name))
            yield from self._sink_pin(index, link, sink)

    def _source_pin(self, index: int, link: Link, source: _Placed) -> Iterator[Problem]:
        pins = _output_pins(source)
        name = base_name(link.source_name)
        if pins is not None and name not in pins and not is_tool_pin(link.source_name):
            message = f"{_title(source)} has no output pin {name!r}; it has {_listed(pins)}"
            yield _link_problem(index, "source_name", message, link.source_id)

    def _sink_pin(self, index: int, link: Link, sink: _Placed) -> Iterator[Problem]:
        pins = _input_pins(sink)
        name = base_name(link.sink_name)
        if pins is not None and name not in pins and not is_tool_pin(link.sink_name):
            message = f"{_title(sink)} has no input pin {name!r}; it has {_listed(pins)}"
            yield _link_problem(index, "sink_name", message, link.sink_id)

    def _node(self, placed: _Placed) -> Iterator[Problem]:
        block_id = placed.node.block_id
        if placed.block is None and (self._for_run or block_id not in self._tolerated):
            yield placed.problem("block_id", self._catalogue.why_missing(block_id), "block_id")
        if placed.block is not None and placed.block.is_disabled:
            yield placed.problem("block_id", f"{placed.block.name} is disabled and cannot be used", "block_id")
        metadata = parse_object(bytes(placed.node.metadata))
        if metadata is None:
            yield placed.problem("metadata", "must be a JSON object", "metadata")
        for path, message in self._catalogue.metadata_problems(metadata or {}):
            yield placed.problem(f"metadata.{path}", message, f"metadata.{path}")
        if placed.constants is None:
            yield placed.problem("input_default", "must be a JSON object of pin to value", "input_default")
            return
        if placed.is_agent:
            yield from _agent_problems(placed, placed.constants)
        elif placed.block is not None:
            yield from self._constants(placed, placed.block, placed.constants)

    def _constants(self, placed: _Placed, block: BlockView, constants: dict[str, Any]) -> Iterator[Problem]:
        if block.type == NOTE:
            return
        if self._for_run or block.type in _CHECKED_ON_SAVE:
            # A null keeps a required pin empty for ever; on save it may wait for its value.
            provided = placed.linked | {base_name(name) for name, value in constants.items() if value is not None or not self._for_run}
            for name in block.required:
                if name in provided or is_credentials_pin(name) or (block.type in WEBHOOKS and name == "payload"):
                    continue
                yield placed.problem(name, f"{block.name} needs a value for {name!r}: a constant or a link")
        if block.type == INPUT and is_credentials_pin(str(constants.get("name", ""))):
            yield placed.problem("name", f"the input name {constants['name']!r} is reserved for credentials")

    def _starts(self) -> Iterator[Problem]:
        fed = {link.sink_id for link in self._graph.links}
        for placed in self._placed:
            kind = placed.block.type if placed.block else ""
            if kind == INPUT or (kind != NOTE and placed.node.id not in fed):
                return
        message = "no node can start: every node waits for a link; add an agent input or a node without links into it"
        yield Problem("", "nodes", message, "nodes")


def _agent_problems(placed: _Placed, constants: dict[str, Any]) -> Iterator[Problem]:
    for name in ("graph_id", "graph_version", "input_schema", "output_schema"):
        if constants.get(name) is None:
            yield placed.problem(name, f"an agent node needs {name!r}")
    given = constants.get("inputs")
    provided = placed.linked | (set(given) if isinstance(given, dict) else set())
    required = _schema(constants, "input_schema").get("required")
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in provided:
            yield placed.problem(f"inputs.{name}", f"the agent needs a value for its input {name!r}: a constant or a link")


def _input_pins(placed: _Placed) -> Iterable[str] | None:
    """The names a link may lead to; None when nothing is known about them."""
    if placed.is_agent:
        return _agent_pins(placed, "input_schema")
    return None if placed.block is None else placed.block.inputs


def _output_pins(placed: _Placed) -> Iterable[str] | None:
    if placed.is_agent:
        pins = _agent_pins(placed, "output_schema")
        return None if pins is None else {*pins, _ERROR_PIN}
    return None if placed.block is None else placed.block.outputs


def _agent_pins(placed: _Placed, schema: str) -> Iterable[str] | None:
    if not placed.constants or schema not in placed.constants:
        return None
    properties = _schema(placed.constants, schema).get("properties")
    return properties if isinstance(properties, dict) else {}


def _schema(constants: dict[str, Any], name: str) -> dict[str, Any]:
    schema = constants.get(name)
    return schema if isinstance(schema, dict) else {}


def _link_problem(index: int, name: str, message: str, node_id: str = "") -> Problem:
    where = f"links[{index}].{name}"
    return Problem(node_id, where, message, where)


def _title(placed: _Placed) -> str:
    return placed.block.name if placed.block else f"node {placed.node.id!r}"


def _listed(pins: Iterable[str]) -> str:
    return ", ".join(sorted(pins)) or "none"
