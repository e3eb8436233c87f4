"""treadle.graph.v1.GraphService: from messages to the domain and back."""

from treadle.graph.v1 import graph_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.batch import answer_each
from mesh.call import Call
from mesh.paging import offset_of, offset_token, position_of, position_token
from services.graph.block_source import BlockSource
from services.graph.checks import Checks
from services.graph.errors import document_invalid, graph_not_found
from services.graph.exporting import export_document
from services.graph.importing import import_document
from services.graph.kept import KeptGraphs
from services.graph.messages import graph_of, head_message, problem_message, report_message
from services.graph.model import block_ids, parse_object
from services.graph.repository import Repository
from services.graph.validation import validate
from services.graph.versions import Head, fingerprint, read_document

DEFAULT_PAGE_SIZE = 50


class GraphServicer:
    """The handlers of GraphService."""

    def __init__(self, repository: Repository, kept: KeptGraphs, blocks: BlockSource) -> None:
        self._repository = repository
        self._kept = kept
        self._blocks = blocks
        self._checks = Checks(blocks)

    async def create_graph(self, request: pb.CreateGraphRequest, call: Call) -> pb.CreateGraphResponse:
        """Saves version 1."""
        made = await self._checks.saveable(graph_of(request.graph))
        mark = fingerprint(request.graph.SerializeToString(deterministic=True)) if request.request_id else ""
        head = await self._repository.create(call.caller.user_id, made, request.request_id, mark)
        return pb.CreateGraphResponse(graph=await self._full(head, call))

    async def get_graph(self, request: pb.GetGraphRequest, call: Call) -> pb.GetGraphResponse:
        """A version, the active one when none is named."""
        head = await self._kept.head(call.caller.user_id, request.graph_id, request.version)
        if call.has_answer(head.etag):
            call.response_headers["etag"] = head.etag
            return pb.GetGraphResponse()
        return pb.GetGraphResponse(graph=await self._full(head, call))

    async def list_graphs(self, request: pb.ListGraphsRequest, call: Call) -> pb.ListGraphsResponse:
        """A page of the caller's graphs."""
        size = request.page_size or DEFAULT_PAGE_SIZE
        after = position_of(request.page_token)
        heads = await self._repository.graphs(call.caller.user_id, size + 1, after)
        token = position_token(heads[size - 1].update_time, heads[size - 1].id) if len(heads) > size else ""
        return pb.ListGraphsResponse(graphs=[head_message(head) for head in heads[:size]], next_page_token=token)

    async def update_graph(self, request: pb.UpdateGraphRequest, call: Call) -> pb.UpdateGraphResponse:
        """Saves the next version. Placeholders that the active version has may stay."""
        owner_id = call.caller.user_id
        head = await self._repository.head(owner_id, request.graph_id)
        before = read_document(await self._repository.document(owner_id, head.id, head.version))
        made = await self._checks.saveable(graph_of(request.graph), before)
        head = await self._repository.update(owner_id, head.id, made, call.metadata.get("if-match", ""))
        await self._kept.changed(head.id)
        return pb.UpdateGraphResponse(graph=await self._full(head, call))

    async def delete_graph(self, request: pb.DeleteGraphRequest, call: Call) -> pb.DeleteGraphResponse:
        """Deletes a graph with all its versions."""
        await self._repository.delete(call.caller.user_id, request.graph_id)
        await self._kept.deleted(request.graph_id)
        return pb.DeleteGraphResponse()

    async def list_graph_versions(self, request: pb.ListGraphVersionsRequest, call: Call) -> pb.ListGraphVersionsResponse:
        """A page of the versions, newest first."""
        size = request.page_size or DEFAULT_PAGE_SIZE
        below = offset_of(request.page_token)
        more = {"below": below} if below else {}
        heads = await self._repository.versions(call.caller.user_id, request.graph_id, size + 1, **more)
        if not heads and not below:
            raise graph_not_found(request.graph_id)
        token = offset_token(heads[size - 1].version) if len(heads) > size else ""
        return pb.ListGraphVersionsResponse(graphs=[head_message(head) for head in heads[:size]], next_page_token=token)

    async def activate_graph(self, request: pb.ActivateGraphRequest, call: Call) -> pb.ActivateGraphResponse:
        """Makes a version the active one."""
        head = await self._repository.activate(call.caller.user_id, request.graph_id, request.version)
        await self._kept.changed(head.id)
        return pb.ActivateGraphResponse(graph=await self._full(head, call))

    async def import_graph(self, request: pb.ImportGraphRequest, call: Call) -> pb.ImportGraphResponse:
        """Saves a document as a new graph."""
        document = parse_object(request.document.json)
        if document is None:
            raise document_invalid("document", "must be a JSON object")
        graph, report = import_document(document, await self._blocks.get())
        made = await self._checks.saveable(graph, graph)
        mark = fingerprint(request.document.json.encode()) if request.request_id else ""
        head = await self._repository.create(call.caller.user_id, made, request.request_id, mark)
        return pb.ImportGraphResponse(graph=await self._full(head, call), report=report_message(report))

    async def export_graph(self, request: pb.ExportGraphRequest, call: Call) -> pb.ExportGraphResponse:
        """A version as a document."""
        head = await self._repository.head(call.caller.user_id, request.graph_id, request.version)
        graph = read_document(await self._repository.document(call.caller.user_id, head.id, head.version))
        text = export_document(graph, head, await self._blocks.get())
        call.response_headers["etag"] = head.etag
        return pb.ExportGraphResponse(document=JsonValue(json=text))

    async def validate_graph(self, request: pb.ValidateGraphRequest, call: Call) -> pb.ValidateGraphResponse:
        """All that keeps a graph from being saved and run."""
        graph = graph_of(request.graph)
        problems = validate(graph, await self._blocks.get(block_ids(graph)), for_run=True)
        return pb.ValidateGraphResponse(problems=map(problem_message, problems))

    async def batch_get_graphs(self, request: pb.BatchGetGraphsRequest, call: Call) -> pb.BatchGetGraphsResponse:
        """Several versions."""
        answers = await answer_each(self.get_graph, request.requests, call)
        return pb.BatchGetGraphsResponse(answers=[pb.GetGraphAnswer(response=answer) for answer in answers])

    async def batch_list_graph_versions(self, request: pb.BatchListGraphVersionsRequest, call: Call) -> pb.BatchListGraphVersionsResponse:
        """Pages of the versions of several graphs."""
        answers = await answer_each(self.list_graph_versions, request.requests, call)
        return pb.BatchListGraphVersionsResponse(answers=[pb.ListGraphVersionsAnswer(response=answer) for answer in answers])

    async def _full(self, head: Head, call: Call) -> pb.Graph:
        """The version with its nodes and links. Read for the caller, who has just been shown to own it."""
        parts = await self._kept.parts(call.caller.user_id, head.id, head.version)
        call.response_headers["etag"] = head.etag
        return head_message(head, parts)
