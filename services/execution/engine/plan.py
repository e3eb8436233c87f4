"""A graph made ready to run: compiled once from its document, then shared by all runs of that version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mesh.errors import InvalidArgumentError, Violation
from services.block.sdk import Block, BlockRegistry, BlockType
from services.block.sdk.inputs import InputPlan, NotReady, Prepared, input_plan
from services.block.sdk.pins import TOOL_PIN, TOOL_PREFIX, base_name
from services.block.sdk.policy import PLAIN, NodePolicy, PolicyError, node_policy
from services.execution.engine.agents import AgentInputs, agent_call, agent_constants

# Routes are remembered per emitted pin. A block that makes up pin names without end must not fill the memory.
_ROUTES_REMEMBERED = 256
_AGENT_INPUTS = AgentInputs()
# The constant in which a node that gathers names its source.
SOURCE_PIN = "source"


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """Carries values from a pin of one node to a pin of another. Values of static links are kept for later firings of the sink, those of
    gathered ones make lists.
    """

    source_pin: str
    sink: int
    sink_id: str
    sink_pin: str
    is_static: bool
    is_gathered: bool = False


@dataclass(frozen=True, slots=True)
class Gather:
    """A pin whose values are gathered: the link over which its lists go, the nodes upstream of it, and the source by its place in the
    graph, if there is one. `is_astray` says that a source is named that is not upstream. `cut` is the source unless other nodes further
    down gather by it, too.
    """

    link: Link
    upstream: frozenset[int]
    source: int | None = None
    is_astray: bool = False
    cut: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A placed block. `linked` names the sink pins that links lead to, `static_pins` those among them that static links lead to.

    `constants` are those of the pins that links lead to, `document_constants` all that the document has: they differ for nodes that run
    another agent.
    """

    index: int
    id: str
    block_id: str
    block: Block | None
    constants: Mapping[str, Any]
    links: tuple[Link, ...] = ()
    linked: tuple[str, ...] = ()
    static_pins: tuple[str, ...] = ()
    type: BlockType = BlockType.STANDARD  # also when the block is unknown
    title: str = ""  # the name of the block
    is_output: bool = False
    policy: NodePolicy = PLAIN
    gather: Gather | None = None
    # Nodes that gather what comes of this one, those further upstream first; and whether one of them does so for each of its firings.
    feeds: tuple[int, ...] = ()
    is_source: bool = False
    document_constants: Mapping[str, Any] = field(default_factory=dict)
    _inputs: InputPlan | AgentInputs | None = None
    _routes: dict[str, tuple[Link, ...]] = field(default_factory=dict)

    @property
    def obstacle(self) -> str:
        """Why its firings fail unrun; empty when they can run."""
        if self.block is None:
            return f"block {self.block_id} is not installed"
        return f"block {self.block.name} is disabled" if self.block.is_disabled else ""

    def routes(self, pin: str) -> tuple[Link, ...]:
        """The links, in their order, that may carry something of a value emitted on `pin`."""
        found = self._routes.get(pin)
        if found is None:
            found = tuple(link for link in self.links if _may_carry(link.source_pin, pin))
            if len(self._routes) < _ROUTES_REMEMBERED:
                self._routes[pin] = found
        return found

    def prepare(self, data: Mapping[str, Any]) -> Prepared | NotReady:
        """The input of a firing from `data`, which holds every linked pin. An unknown block takes everything as it is."""
        if self._inputs is None:
            return Prepared({**self.constants, **data})
        try:
            return self._inputs.prepare(self.constants, data)
        except Exception as error:  # noqa: BLE001,RUF100 - a value nested too deep, a plugin's own check: it blocks a firing, never the run
            return NotReady(f"the input could not be checked: {type(error).__name__}: {error}")

    def call(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the block runs with, from the inputs of a firing."""
        return agent_call(self.document_constants, inputs) if self.type is BlockType.AGENT else inputs

    @property
    def required(self) -> Sequence[str]:
        """Pins that need a constant, a link or a mask."""
        return () if self._inputs is None else self._inputs.required


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The nodes of a graph, and those that fire at the start of a run, both in listing order."""

    nodes: tuple[Node, ...]
    starting: tuple[Node, ...]

    @classmethod
    def compile(cls, document: Mapping[str, Any], registry: BlockRegistry) -> "Plan":
        """Compiles a graph document. Raises InvalidArgumentError (GRAPH_INVALID) for links that lead nowhere, ids that come twice and
        metadata that `sdk.policy` refuses.

        A node whose block is unknown stays: it takes part, and its firings fail with a reason.
        """
        index: dict[str, int] = {}
        blocks: list[Block | None] = []
        for listed in document.get("nodes") or ():
            if listed["id"] in index:
                raise InvalidArgumentError(f"there are two nodes {listed['id']}", reason="GRAPH_INVALID")
            index[listed["id"]] = len(index)
            blocks.append(registry.get(listed["block_id"]))
        gathers = _gathers(document, index, blocks)
        outgoing: list[list[Link]] = [[] for _ in blocks]
        incoming: list[list[Link]] = [[] for _ in blocks]
        for listed in document.get("links") or ():
            source, link = _link(listed, index, blocks)
            # Notes are remarks: they never run, so links from and to them carry nothing.
            if not _is_note(blocks[source]) and not _is_note(blocks[link.sink]):
                outgoing[source].append(link)
                incoming[link.sink].append(link)
        nodes = tuple(
            _node(at, listed, blocks[at], (outgoing[at], incoming[at]), gathers) for at, listed in enumerate(document.get("nodes") or ())
        )
        return cls(nodes, tuple(node for node in nodes if _is_starting(node)))


def _link(listed: Mapping[str, Any], index: Mapping[str, int], blocks: Sequence[Block | None]) -> tuple[int, Link]:
    for end in ("source_id", "sink_id"):
        if listed[end] not in index:
            raise InvalidArgumentError(f"a link names the node {listed[end]}, which is not there", reason="GRAPH_INVALID")
    source = index[listed["source_id"]]
    block = blocks[source]
    # What the document says about `is_static` does not count: it is a property of the source block. An unknown block has only that.
    is_static = block.static_output if block is not None else bool(listed.get("is_static"))
    sink, pin = index[listed["sink_id"]], listed["sink_name"]
    sink_block = blocks[sink]
    is_gathered = sink_block is not None and sink_block.gathers == pin
    return source, Link(listed["source_name"], sink, listed["sink_id"], pin, is_static, is_gathered)


def _node(
    at: int, listed: Mapping[str, Any], block: Block | None, links: tuple[list[Link], list[Link]], gathers: Mapping[int, Gather]
) -> Node:
    outgoing, incoming = links
    constants = listed.get("input_default") or {}
    kind = BlockType.STANDARD if block is None else block.block_type
    return Node(
        index=at,
        id=listed["id"],
        block_id=listed["block_id"],
        block=block,
        type=kind,
        title="unknown" if block is None else block.name,
        is_output=kind is BlockType.OUTPUT,
        policy=_policy(listed),
        gather=gathers.get(at),
        feeds=_feeds(at, gathers),
        is_source=any(gather.source == at for gather in gathers.values()),
        constants=agent_constants(constants) if kind is BlockType.AGENT else constants,
        document_constants=constants,
        links=tuple(outgoing),
        linked=tuple(dict.fromkeys(link.sink_pin for link in incoming)),
        static_pins=tuple(dict.fromkeys(link.sink_pin for link in incoming if link.is_static)),
        _inputs=None if block is None else _AGENT_INPUTS if kind is BlockType.AGENT else input_plan(block),
    )


def _gathers(document: Mapping[str, Any], index: Mapping[str, int], blocks: Sequence[Block | None]) -> dict[int, Gather]:
    """The pins that gather, by the place of their node. Most graphs have none."""
    places = [at for at, block in enumerate(blocks) if block is not None and block.gathers]
    if not places:
        return {}
    links = [_link(listed, index, blocks) for listed in document.get("links") or ()]
    before: dict[int, set[int]] = {}
    for source, link in links:
        before.setdefault(link.sink, set()).add(source)
    found = {}
    for at in places:
        upstream: set[int] = set()
        gathered = [(source, link) for source, link in links if link.sink == at and link.is_gathered]
        ahead = {source for source, _ in gathered}
        while ahead:
            upstream |= ahead
            ahead = {source for sink in ahead for source in before.get(sink, ())} - upstream
        upstream.discard(at)
        if gathered:
            way = replace(gathered[0][1], is_gathered=False, is_static=False)
            found[at] = _gather(way, frozenset(upstream), document["nodes"][at], index)
    return {at: replace(gather, cut=_cut(at, found)) for at, gather in found.items()}


def _gather(link: Link, upstream: frozenset[int], listed: Mapping[str, Any], index: Mapping[str, int]) -> Gather:
    wanted = (listed.get("input_default") or {}).get(SOURCE_PIN)
    source = index.get(wanted) if isinstance(wanted, str) else None
    is_upstream = source in upstream
    return Gather(link, upstream, source if is_upstream else None, is_astray=bool(wanted) and not is_upstream)


def _cut(at: int, gathers: Mapping[int, Gather]) -> int | None:
    source = gathers[at].source
    return None if any(gather.source == source and at in gather.upstream for gather in gathers.values()) else source


def _feeds(at: int, gathers: Mapping[int, Gather]) -> tuple[int, ...]:
    fed = [(len(gather.upstream), place) for place, gather in gathers.items() if at in gather.upstream]
    return tuple(place for _, place in sorted(fed))


def _policy(listed: Mapping[str, Any]) -> NodePolicy:
    try:
        return node_policy(listed.get("metadata") or {})
    except PolicyError as error:
        violations = [Violation(f"nodes.{listed['id']}.metadata.{path}", message) for path, message in error.problems]
        raise InvalidArgumentError(f"node {listed['id']}: {error}", reason="GRAPH_INVALID", violations=violations) from None


def _is_note(block: Block | None) -> bool:
    return block is not None and block.block_type is BlockType.NOTE


def _is_starting(node: Node) -> bool:
    return node.type is BlockType.INPUT or (not node.linked and node.type is not BlockType.NOTE)


def _may_carry(source_pin: str, pin: str) -> bool:
    if pin.startswith(TOOL_PREFIX):
        return source_pin == pin or base_name(source_pin) == TOOL_PIN
    return source_pin.startswith(pin)
