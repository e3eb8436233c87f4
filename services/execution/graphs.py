"""The graph versions that executions use: fetched from the graph service, compiled, and kept for the workers."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import orjson
from treadle.graph.v1 import graph_service_pb2 as pb
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub

from mesh import jsontext
from mesh.clients import Clients
from services.block.sdk import BlockRegistry
from services.execution.engine.plan import Plan
from services.execution.repository import ExecutionRepository

MAX_KEPT = 256
# A version never changes, but it can be deleted: a named version is asked for again after this.
TRUST_S = 5.0


@dataclass(frozen=True, slots=True)
class GraphVersion:
    """A version of a graph that can be run."""

    graph_id: str
    version: int
    plan: Plan


class Graphs:
    """Asks the graph service, with the identity of the call being served, and compiles each version once."""

    def __init__(self, clients: Clients, repository: ExecutionRepository, registry: BlockRegistry) -> None:
        self._clients = clients
        self._repository = repository
        self._registry = registry
        self._stub: Any = None
        # Compiled versions, and until when (on the monotonic clock) an owner's named version is taken to be there.
        self._kept: OrderedDict[tuple[str, int], GraphVersion] = OrderedDict()
        self._trusted: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    async def get(self, owner_id: str, graph_id: str, version: int) -> GraphVersion:
        """The caller's graph, in the active version when `version` is 0; its snapshot is stored when this returns.

        Raises NotFoundError (GRAPH_NOT_FOUND), InvalidArgumentError (GRAPH_INVALID), UnavailableError.
        """
        trusted_until = self._trusted.get((owner_id, graph_id, version), 0.0)
        kept = self._kept.get((graph_id, version))
        if kept is None or time.monotonic() > trusted_until:
            answer = await self._graph_service().GetGraph(pb.GetGraphRequest(graph_id=graph_id, version=version))
            kept = await self._keep(owner_id, answer.graph)
        self._kept.move_to_end((kept.graph_id, kept.version))
        return kept

    async def _keep(self, owner_id: str, graph: pb.Graph) -> GraphVersion:
        key = graph.id, graph.version
        self._trusted[owner_id, *key] = time.monotonic() + TRUST_S
        kept = self._kept.get(key)
        if kept is None:
            text = document_text(graph)
            plan = Plan.compile(jsontext.loads(text), self._registry)
            await self._repository.put_snapshot(graph.id, graph.version, owner_id, text)
            kept = self._kept[key] = GraphVersion(graph.id, graph.version, plan)
        for store in (self._kept, self._trusted):
            while len(store) > MAX_KEPT:
                store.popitem(last=False)
        return kept

    def _graph_service(self) -> Any:
        if self._stub is None:
            self._stub = GraphServiceStub(self._clients.channel("graph"))
        return self._stub


def document_text(graph: pb.Graph) -> str:
    """The graph as a document: JSON text, with constants and metadata exactly as they are stored."""
    return orjson.dumps(_document(graph)).decode()


def _document(graph: pb.Graph) -> dict[str, Any]:
    return {
        "id": graph.id,
        "version": graph.version,
        "name": graph.name,
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
