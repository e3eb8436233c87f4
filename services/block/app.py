"""Assembly of the block service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.resources import Resources
from mesh.service import Running, Service
from services.block.catalogue import Catalogue
from services.block.sdk import BlockRegistry
from services.block.servicer import BlockServicer


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves the catalogue of the installed blocks."""
    allowed = [host.strip() for host in resources.settings.http_block_allow_hosts.split(",") if host.strip()]
    servicer = BlockServicer(Catalogue(BlockRegistry.installed()), allowed)
    yield Running(servicers={"treadle.block.v1.BlockService": servicer})


SERVICE = Service("block", build)
