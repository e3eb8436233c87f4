"""The graph versions that executions use, compiled once and shared."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from mesh import jsontext
from mesh.errors import InternalError
from services.block.sdk import BlockRegistry
from services.execution.engine.plan import Plan
from services.execution.lines import Names
from services.execution.repository.executions import ExecutionRepository

MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A graph version, ready to run."""

    plan: Plan
    names: Names


class Snapshots:
    """Compiled graph versions, the most recently used `MAX_KEPT` of them. A version never changes, so neither does its snapshot."""

    def __init__(self, repository: ExecutionRepository, registry: BlockRegistry) -> None:
        self._repository = repository
        self._registry = registry
        self._kept: OrderedDict[tuple[str, int], Snapshot] = OrderedDict()
        self._loading = asyncio.Lock()

    async def get(self, graph_id: str, graph_version: int) -> Snapshot:
        """The snapshot. Raises InternalError when there is none, InvalidArgumentError when the graph cannot run, and database errors."""
        key = graph_id, graph_version
        kept = self._kept.get(key)
        if kept is None:
            async with self._loading:
                kept = self._kept.get(key) or await self._load(key)
        self._kept.move_to_end(key)
        return kept

    async def _load(self, key: tuple[str, int]) -> Snapshot:
        text = await self._repository.get_snapshot(*key)
        if text is None:
            raise InternalError(f"graph {key[0]} version {key[1]} has no snapshot", reason="SNAPSHOT_MISSING")
        document = jsontext.loads(text)
        snapshot = self._kept[key] = Snapshot(Plan.compile(document, self._registry), Names.of(document))
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return snapshot
