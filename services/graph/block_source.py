"""Keeps a copy of the block catalogue, asked of the block service in this service's own name."""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

from treadle.block.v1.block_service_pb2 import Block, ListBlocksRequest
from treadle.block.v1.block_service_pb2_grpc import BlockServiceStub

from mesh.clients import Clients
from mesh.errors import TreadleError
from mesh.logs import get_logger
from services.graph.catalogue import BlockView, Catalogue
from services.graph.model import parse_object

# How old a copy may get before it is asked for again.
REFRESH_S = 30.0
# A graph may use a block that was installed a moment ago: then a copy older than this is not trusted.
DOUBT_S = 2.0
PAGE_SIZE = 1000

_log = get_logger("graph.catalogue")


class BlockSource:
    """The catalogue, fetched when first needed. While the block service is away the last copy serves on."""

    def __init__(self, clients: Clients, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._clients = clients
        self._clock = clock
        self._catalogue: Catalogue | None = None
        self._read_at = 0.0
        self._fetching: asyncio.Task[Catalogue] | None = None

    async def get(self, block_ids: frozenset[str] = frozenset()) -> Catalogue:
        """A catalogue that is fresh enough to say that one of `block_ids` is not installed. Raises UnavailableError."""
        held = self._catalogue
        if held is None:
            return await self._fetched()
        age_s = self._clock() - self._read_at
        is_missing = any(held.get(block_id) is None for block_id in block_ids)
        if age_s < (DOUBT_S if is_missing else REFRESH_S):
            return held
        try:
            return await self._fetched()
        except TreadleError as error:
            _log.warning("catalogue_stale", age_s=round(age_s, 1), reason=error.reason)
            return held

    async def _fetched(self) -> Catalogue:
        """One fetch at a time, shared by all who wait; it outlives a caller that gives up."""
        if self._fetching is None:
            # An empty context: the call goes out as this service, not as the user whose call made it necessary.
            self._fetching = asyncio.create_task(self._fetch(), name="graph-catalogue", context=Context())
            self._fetching.add_done_callback(self._fetch_ended)
        return await asyncio.shield(self._fetching)

    def _fetch_ended(self, task: "asyncio.Task[Catalogue]") -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()

    async def _fetch(self) -> Catalogue:
        stub: Any = BlockServiceStub(self._clients.channel("block"))
        blocks: list[BlockView] = []
        metadata_schema: dict[str, Any] = {}
        token = ""
        while True:
            page = await stub.ListBlocks(ListBlocksRequest(page_size=PAGE_SIZE, page_token=token))
            blocks += map(_view, page.blocks)
            metadata_schema = parse_object(page.metadata_schema.json) or {}
            token = page.next_page_token
            if not token:
                break
        self._catalogue, self._read_at = Catalogue(blocks, metadata_schema), self._clock()
        return self._catalogue


def _view(block: Block) -> BlockView:
    return BlockView(
        id=block.id,
        name=block.name,
        type=block.type,
        static_output=block.static_output,
        is_disabled=block.is_disabled,
        input_schema=parse_object(block.input_schema.json) or {},
        output_schema=parse_object(block.output_schema.json) or {},
        fault=block.disabled_reason,
    )
