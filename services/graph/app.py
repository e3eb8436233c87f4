"""Assembly of the graph service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.resources import Resources
from mesh.service import Running, Service
from services.graph.block_source import BlockSource
from services.graph.repository import Repository
from services.graph.servicer import GraphServicer


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves GraphService."""
    database = await resources.database("graph")
    servicer = GraphServicer(Repository(database), BlockSource(resources.clients))
    yield Running(servicers={"treadle.graph.v1.GraphService": servicer})


SERVICE = Service("graph", build, migrations="services.graph.migrations", needs=("postgres",))
