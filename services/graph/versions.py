"""A version of a graph as it is kept, and one about to be."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import msgspec

from mesh import jsontext
from services.graph.catalogue import Catalogue
from services.graph.model import Graph, settle
from services.graph.schemas import input_schema, output_schema


@dataclass(frozen=True, slots=True)
class Prepared:
    """A graph ready to be saved. `document` and the schemas are JSON text."""

    graph: Graph
    document: str
    input_schema: str
    output_schema: str


@dataclass(frozen=True, slots=True)
class Head:
    """All about a saved version but its nodes, links and sub-graphs. `create_time` is the version's, `update_time` the graph's."""

    id: str
    version: int
    is_active: bool
    name: str
    description: str
    instructions: str
    input_schema: str
    output_schema: str
    create_time: datetime
    update_time: datetime

    @property
    def etag(self) -> str:
        """Changes whenever anything that a reader of this version sees has changed."""
        return f'"{self.version}-{int(self.update_time.timestamp() * 1_000_000):x}"'


def prepared(graph: Graph, catalogue: Catalogue) -> Prepared:
    """Settles a graph and derives its schemas. The same graph gives the same document."""
    settled = settle(graph, catalogue)
    return Prepared(
        settled,
        msgspec.json.encode(settled).decode(),
        jsontext.dumps(input_schema(settled, catalogue)),
        jsontext.dumps(output_schema(settled, catalogue)),
    )


def read_document(text: str) -> Graph:
    """The graph in a stored document."""
    return msgspec.json.decode(text, type=Graph)


def fingerprint(content: bytes) -> str:
    """What tells two requests with the same request id apart."""
    return sha256(content).hexdigest()
