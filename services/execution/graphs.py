"""The graph versions and drafts that executions use: fetched from the graph service, compiled, and kept for the workers.

With a version, the agents that its nodes run are kept too, and those that they run: workers have no caller's right to ask for them.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from treadle.graph.v1 import graph_service_pb2 as pb
from treadle.graph.v1.draft_service_pb2 import ResolveDraftRequest
from treadle.graph.v1.draft_service_pb2_grpc import DraftServiceStub
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub

from mesh import jsontext
from mesh.clients import Clients
from mesh.errors import NotFoundError, Violation
from services.block.sdk import BlockRegistry, BlockType
from services.execution.documents import document_text
from services.execution.engine.plan import Plan
from services.execution.errors import graph_invalid
from services.execution.repository.executions import ExecutionRepository
from services.execution.snapshot_ids import draft_id, embedded_id

MAX_KEPT = 256
# A version never changes, but it can be deleted: a named version is asked for again after this.
TRUST_S = 5.0


@dataclass(frozen=True, slots=True)
class GraphVersion:
    """A version of a graph that can be run, or a revision of a draft; the version is 0 then. `agents` (a JSON object by graph id) says
    which versions of agents stand for version 0.
    """

    graph_id: str
    version: int
    plan: Plan
    agents: str = "{}"
    revision: str = ""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A compiled version, the agents that its nodes run (as node id, graph id, version), and the message it came in: agents may be embedded
    there.
    """

    graph: pb.Graph
    plan: Plan
    calls: tuple[tuple[str, str, int], ...]


class Graphs:
    """Asks the graph service, with the identity of the call being served, and compiles each version once."""

    def __init__(self, clients: Clients, repository: ExecutionRepository, registry: BlockRegistry) -> None:
        self._clients = clients
        self._repository = repository
        self._registry = registry
        # Compiled versions, and until when (on the monotonic clock) an owner's named version is taken to be there.
        self._kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
        self._trusted: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    async def get(self, owner_id: str, graph_id: str, version: int) -> GraphVersion:
        """The caller's graph, in the active version when `version` is 0, and so the agents that it runs; snapshots of all are stored when
        this returns.

        Raises NotFoundError (GRAPH_NOT_FOUND), InvalidArgumentError (GRAPH_INVALID, also when it runs an agent that is not there),
        UnavailableError.
        """
        kept = await self._version(owner_id, graph_id, version)
        agents = await self._active_agents(owner_id, kept) if kept.calls else {}
        return GraphVersion(kept.graph.id, kept.graph.version, kept.plan, jsontext.dumps(agents))

    async def get_draft(self, owner_id: str, graph_id: str, revision: str) -> GraphVersion:
        """The caller's draft of a graph, which must have this revision unless it is empty; and the agents that it runs, as above.

        Raises NotFoundError (DRAFT_NOT_FOUND), AbortedError (DRAFT_CHANGED), InvalidArgumentError (GRAPH_INVALID), UnavailableError.
        """
        answer = await self._draft_service.ResolveDraft(ResolveDraftRequest(graph_id=graph_id, revision=revision))
        # By its content: what was kept once serves all runs of it, and a later draft is another graph.
        found, real_id = answer.graph, answer.graph.id
        found.id = draft_id(real_id, answer.revision)
        kept = await self._keep(owner_id, found, found.id)
        agents = await self._active_agents(owner_id, kept) if kept.calls else {}
        return GraphVersion(real_id, 0, kept.plan, jsontext.dumps(agents), answer.revision)

    async def _version(self, owner_id: str, graph_id: str, version: int) -> _Kept:
        """A version of the caller's graph. Which one is active is asked each time, a named one now and then."""
        key = graph_id, version
        kept = self._kept.get(key)
        if kept is None or time.monotonic() > self._trusted.get((owner_id, *key), 0.0):
            answer = await self._graph_service.GetGraph(pb.GetGraphRequest(graph_id=graph_id, version=version))
            kept = await self._keep(owner_id, answer.graph, answer.graph.id)
            self._trusted[owner_id, graph_id, kept.graph.version] = time.monotonic() + TRUST_S
            while len(self._trusted) > MAX_KEPT:
                self._trusted.popitem(last=False)
        return kept

    async def _keep(self, owner_id: str, graph: pb.Graph, stored_id: str) -> _Kept:
        key = stored_id, graph.version
        kept = self._kept.get(key)
        if kept is None:
            text = document_text(graph)
            plan = Plan.compile(jsontext.loads(text), self._registry)
            await self._repository.put_snapshot(stored_id, graph.version, owner_id, text)
            kept = self._kept[key] = _Kept(graph, plan, tuple(_calls(plan)))
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return kept

    async def _active_agents(self, owner_id: str, root: _Kept) -> dict[str, int]:
        """Makes every agent ready that can be reached from a graph: embedded in it, or the caller's own. Returns the active versions of
        those that are run in whatever version is active.
        """
        active: dict[str, int] = {}
        seen = {(root.graph.id, root.graph.version, root.graph.id, root.graph.version)}
        # A graph, the one in which its agents may be embedded, and where it is, for people.
        waiting = [(root, root.graph, "")]
        missing: list[Violation] = []
        while waiting:
            caller, top, inside = waiting.pop()
            for node_id, graph_id, version in caller.calls:
                if (top.id, top.version, graph_id, version) in seen:
                    continue
                seen.add((top.id, top.version, graph_id, version))
                embedded = _embedded(top, graph_id, version)
                if embedded is not None:
                    agent = await self._keep(owner_id, embedded, embedded_id(top.id, top.version, graph_id))
                else:
                    try:
                        agent = await self._version(owner_id, graph_id, version or active.get(graph_id, 0))
                    except NotFoundError:
                        missing.append(Violation(f"nodes.{node_id}.graph_id", f"there is no agent {graph_id}{inside}"))
                        continue
                    if not version:
                        active[graph_id] = agent.graph.version
                waiting.append((agent, top if embedded is not None else agent.graph, f", which the agent {graph_id} runs"))
        if missing:
            raise graph_invalid(missing)
        return active

    @cached_property
    def _graph_service(self) -> Any:
        return GraphServiceStub(self._clients.channel("graph"))

    @cached_property
    def _draft_service(self) -> Any:
        return DraftServiceStub(self._clients.channel("graph"))


def _calls(plan: Plan) -> Iterator[tuple[str, str, int]]:
    """The nodes of a plan that run agents: their id, and the id and version of the agent."""
    for node in plan.nodes:
        graph_id, version = node.document_constants.get("graph_id"), node.document_constants.get("graph_version")
        if node.type is BlockType.AGENT and isinstance(graph_id, str) and graph_id:
            yield node.id, graph_id, version if isinstance(version, int) else 0


def _embedded(top: pb.Graph, graph_id: str, version: int) -> pb.Graph | None:
    """The graph embedded in `top` with this id and version; with version 0, the newest."""
    found = (sub for sub in top.sub_graphs if sub.id == graph_id and version in (0, sub.version))
    return max(found, key=lambda sub: sub.version, default=None)
