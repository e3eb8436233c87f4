"""What is kept of graphs between calls: heads of versions for seconds, their nodes and links for as long as there is room."""

import msgspec
from treadle.graph.v1 import graph_service_pb2 as pb

from mesh.cache.cache import Cache, Codec
from mesh.ids import canonical_uuid
from mesh.resources import Resources
from services.graph.messages import parts_message
from services.graph.repository import Repository
from services.graph.versions import Head, read_document

# News say what changed; this is for when they do not come.
HEAD_TTL_S = 10.0
# A version never changes.
PARTS_TTL_S = 3600.0

_HEAD: Codec[Head] = Codec(msgspec.msgpack.encode, msgspec.msgpack.Decoder(Head).decode)
_PARTS: Codec[pb.Graph] = Codec(pb.Graph.SerializeToString, pb.Graph.FromString)


class KeptGraphs:
    """Reads graphs of an owner. What is kept is kept for that owner alone: for anybody else it is not there."""

    def __init__(self, resources: Resources, repository: Repository) -> None:
        self._repository = repository
        self._heads = Cache(resources, "graph.heads", _HEAD, ttl_s=HEAD_TTL_S)
        self._parts = Cache(resources, "graph.parts", _PARTS, ttl_s=PARTS_TTL_S, lasts=True)

    async def head(self, owner_id: str, graph_id: str, version: int = 0) -> Head:
        """A version, the active one for 0. Raises NotFoundError."""
        return await self._heads.get(_group(graph_id), f"{owner_id} {version}", lambda: self._repository.head(owner_id, graph_id, version))

    async def parts(self, owner_id: str, graph_id: str, version: int) -> pb.Graph:
        """Nodes, links and sub-graphs of a version. Shared between calls: do not change it. Raises NotFoundError."""

        async def read() -> pb.Graph:
            return parts_message(read_document(await self._repository.document(owner_id, graph_id, version)))

        return await self._parts.get(_group(graph_id), f"{owner_id} {version}", read)

    async def changed(self, graph_id: str) -> None:
        """After a commit that gave the graph another version, or another active one."""
        await self._heads.drop(_group(graph_id))

    async def deleted(self, graph_id: str) -> None:
        """After the graph is gone."""
        await self._heads.drop(_group(graph_id))
        await self._parts.drop(_group(graph_id))


def _group(graph_id: str) -> str:
    """One name for an id, however it is written."""
    return canonical_uuid(graph_id) or graph_id
