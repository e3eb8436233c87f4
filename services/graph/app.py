"""Assembly of the graph service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.resources import Resources
from mesh.service import Running, Service
from services.graph.block_source import BlockSource
from services.graph.draft_repository import DraftRepository
from services.graph.draft_servicer import DraftServicer
from services.graph.kept import KeptGraphs
from services.graph.personal_data import GraphData
from services.graph.personal_repository import PersonalRows
from services.graph.repository import Repository
from services.graph.servicer import GraphServicer


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves all of `treadle.graph.v1`."""
    database = await resources.database("graph")
    repository, blocks = Repository(database), BlockSource(resources.clients)
    kept = KeptGraphs(resources, repository)
    servicers = {
        "GraphService": GraphServicer(repository, kept, blocks),
        "DraftService": DraftServicer(DraftRepository(database), repository, kept, blocks),
    }
    yield Running(
        servicers={f"treadle.graph.v1.{name}": servicer for name, servicer in servicers.items()},
        personal_data=GraphData(PersonalRows(database.pool), kept),
    )


SERVICE = Service("graph", build, migrations="services.graph.migrations", needs=("postgres",))
