"""treadle.graph.v1.DraftService: from messages to the domain and back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from treadle.graph.v1 import draft_service_pb2 as pb
from treadle.graph.v1.graph_service_pb2 import Graph as GraphMessage

from mesh.call import Call
from mesh.paging import position_of, position_token
from services.graph.block_source import BlockSource
from services.graph.checks import Checks
from services.graph.draft_repository import DraftRepository
from services.graph.drafts import Condition, Draft, OutdatedError, StaleError, etag_of, revision_of
from services.graph.errors import DraftChangedError, draft_moved_on, draft_not_found, draft_outdated
from services.graph.kept import KeptGraphs
from services.graph.messages import conflict_detail, content_message, draft_message, graph_of, whole_message
from services.graph.model import Graph
from services.graph.repository import Repository
from services.graph.versions import fingerprint, read_document

DEFAULT_PAGE_SIZE = 50


class DraftServicer:
    """The handlers of DraftService."""

    def __init__(self, drafts: DraftRepository, graphs: Repository, kept: KeptGraphs, blocks: BlockSource) -> None:
        self._drafts = drafts
        self._graphs = graphs
        self._kept = kept
        self._checks = Checks(blocks)

    async def create_draft(self, request: pb.CreateDraftRequest, call: Call) -> pb.CreateDraftResponse:
        """Starts a new agent."""
        content = await self._checks.content(graph_of(request.graph))
        mark = fingerprint(request.graph.SerializeToString(deterministic=True)) if request.request_id else ""
        draft = await self._drafts.create(call.caller.user_id, content, request.request_id, mark)
        return pb.CreateDraftResponse(draft=_shown(draft, call))

    async def get_draft(self, request: pb.GetDraftRequest, call: Call) -> pb.GetDraftResponse:
        """The caller's draft."""
        return pb.GetDraftResponse(draft=_shown(await self._own(request.graph_id, call), call))

    async def list_drafts(self, request: pb.ListDraftsRequest, call: Call) -> pb.ListDraftsResponse:
        """A page of the caller's drafts."""
        size = request.page_size or DEFAULT_PAGE_SIZE
        found = await self._drafts.drafts(call.caller.user_id, size + 1, position_of(request.page_token))
        token = position_token(found[size - 1].update_time, found[size - 1].graph_id) if len(found) > size else ""
        return pb.ListDraftsResponse(drafts=map(draft_message, found[:size]), next_page_token=token)

    async def update_draft(self, request: pb.UpdateDraftRequest, call: Call) -> pb.UpdateDraftResponse:
        """Saves the caller's draft."""
        sent = graph_of(request.graph)
        content = await self._checks.content(sent)
        condition = _condition(request.etag, call, call.metadata.get("if-none-match", ""))
        async with self._telling(request.graph_id, call, content.made.graph):
            draft = await self._drafts.save(call.caller.user_id, request.graph_id, content, request.base_version, condition)
        return pb.UpdateDraftResponse(draft=_shown(draft, call))

    async def delete_draft(self, request: pb.DeleteDraftRequest, call: Call) -> pb.DeleteDraftResponse:
        """Throws a draft away."""
        async with self._telling(request.graph_id, call):
            await self._drafts.delete(call.caller.user_id, request.graph_id, _condition(request.etag, call))
        return pb.DeleteDraftResponse()

    async def publish_draft(self, request: pb.PublishDraftRequest, call: Call) -> pb.PublishDraftResponse:
        """Makes a draft the next version."""
        owner_id, condition = call.caller.user_id, _condition(request.etag, call)
        draft = await self._drafts.get(owner_id, request.graph_id)
        if draft is None:
            return pb.PublishDraftResponse(graph=await self._published_before(request.graph_id, condition, call))
        async with self._telling(request.graph_id, call):
            if not condition.holds(draft.etag):
                raise StaleError(draft)
            newest = await self._newest(request.graph_id, call)
            if (newest.version if newest else 0) != draft.base_version:
                raise await self._outdated(draft, call)
            made = await self._checks.saveable(read_document(draft.document), await self._base(draft, call))
            try:
                head = await self._drafts.publish(owner_id, draft, made)
            except OutdatedError:
                raise await self._outdated(draft, call) from None
        await self._kept.changed(head.id)
        call.response_headers["etag"] = head.etag
        return pb.PublishDraftResponse(graph=whole_message(head, made.document))

    async def resolve_draft(self, request: pb.ResolveDraftRequest, call: Call) -> pb.ResolveDraftResponse:
        """A draft to run: one that could be published."""
        draft = await self._own(request.graph_id, call)
        if request.revision not in ("", draft.revision):
            raise draft_moved_on(draft.graph_id, draft.revision)
        graph = read_document(draft.document)
        await self._checks.saveable(graph, await self._base(draft, call))
        message = content_message(graph)
        message.id = draft.graph_id
        return pb.ResolveDraftResponse(graph=message, revision=draft.revision)

    async def _own(self, graph_id: str, call: Call) -> Draft:
        draft = await self._drafts.get(call.caller.user_id, graph_id)
        if draft is None:
            raise draft_not_found(graph_id)
        return draft

    async def _base(self, draft: Draft, call: Call) -> Graph | None:
        """The version that a draft was made from."""
        if not draft.base_version:
            return None
        return read_document(await self._graphs.document(call.caller.user_id, draft.graph_id, draft.base_version))

    async def _newest(self, graph_id: str, call: Call) -> GraphMessage | None:
        found = await self._graphs.newest(call.caller.user_id, graph_id)
        return whole_message(*found) if found else None

    async def _published_before(self, graph_id: str, condition: Condition, call: Call) -> GraphMessage:
        """The version that a call whose answer was lost made of the draft. Raises NotFoundError."""
        found = await self._graphs.newest(call.caller.user_id, graph_id)
        if found is None or not condition.if_match:
            raise draft_not_found(graph_id)
        head, document = found
        if not condition.holds(etag_of(head.version - 1, revision_of(document))):
            raise draft_not_found(graph_id)
        call.response_headers["etag"] = head.etag
        return whole_message(head, document)

    @asynccontextmanager
    async def _telling(self, graph_id: str, call: Call, sent: Graph | None = None) -> AsyncIterator[None]:
        """Tells callers who go on from an older draft both contents."""
        try:
            yield
        except StaleError as stale:
            stored = stale.stored
            newest = None if stored else await self._newest(graph_id, call)
            message = "The draft has changed since it was read." if stored else "There is no draft any more."
            metadata = {"graph_id": graph_id} | ({"etag": stored.etag} if stored else {})
            raise DraftChangedError(message, metadata=metadata, detail=conflict_detail(stored, sent, newest)) from None

    async def _outdated(self, draft: Draft, call: Call) -> Exception:
        newest = await self._newest(draft.graph_id, call)
        detail = conflict_detail(draft, None, newest)
        return draft_outdated(draft.graph_id, draft.base_version, newest.version if newest else 0, detail)


def _condition(etag: str, call: Call, if_none_match: str = "") -> Condition:
    return Condition.of(etag, call.metadata.get("if-match", ""), if_none_match)


def _shown(draft: Draft, call: Call) -> pb.Draft:
    call.response_headers["etag"] = draft.etag
    return draft_message(draft)
