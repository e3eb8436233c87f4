"""The block catalogue, and graph files brought into the stack."""

import hashlib
import json
from pathlib import Path
from typing import Any

from treadle.block.v1.block_service_pb2 import ListBlocksRequest
from treadle.block.v1.block_service_pb2_grpc import BlockServiceStub

from mesh.cli.document import BlockIds, read_document
from mesh.cli.output import CliError, note
from mesh.cli.rest import Rest
from mesh.cli.session import Session
from mesh.local.keys import write_private

_PAGE_SIZE = 2000


def block_names(session: Session) -> dict[str, str]:
    """Ids of all blocks by class name."""
    blocks = BlockServiceStub(session.channel)
    request = ListBlocksRequest(page_size=_PAGE_SIZE)
    names: dict[str, str] = {}
    while True:
        answer = session.call(blocks.ListBlocks, request)
        names.update({block.name: block.id for block in answer.blocks})
        if not answer.next_page_token:
            return names
        request.page_token = answer.next_page_token


def load(session: Session, path: Path) -> str:
    """The graph document of a file, as JSON text."""
    return read_document(path, BlockIds(lambda: block_names(session)))


def import_text(session: Session, document: str) -> str:
    """Imports a document. Returns the answer of REST: the graph and the report."""
    return Rest(session).text("POST", "/v1/graphs:import", document)


def graph_of_file(session: Session, path: Path) -> str:
    """Id of the graph of a file: imported before and unchanged since, or imported now. Notes what the import could not place."""
    document = load(session, path)
    digest = hashlib.sha256(document.encode()).hexdigest()
    book = session.home / "imported.json"
    known = _read_book(book)
    if digest in known and _exists(session, known[digest]):
        return known[digest]
    answer = json.loads(import_text(session, document))
    show_gaps(answer["report"])
    graph_id = str(answer["graph"]["id"])
    write_private(book, json.dumps({**known, digest: graph_id}))
    return graph_id


def show_gaps(report: dict[str, Any]) -> None:
    """Notes what keeps the graph from working as it did where it came from."""
    for block in report.get("unknown_blocks", ()):
        note(f"Unknown block {block.get('name') or block['block_id']} at node {', '.join(block['node_ids'])}")
    for credential in report.get("needed_credentials", ()):
        note(f"Needs a credential of {credential['provider']} at node {', '.join(credential['node_ids'])}")


def show_changes(report: dict[str, Any]) -> None:
    """Notes what the import put right."""
    for change in report.get("changes", ()):
        note(f"Changed: {change}")


def _exists(session: Session, graph_id: str) -> bool:
    try:
        Rest(session).text("GET", f"/v1/graphs/{graph_id}")
    except CliError:
        return False
    return True


def _read_book(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
