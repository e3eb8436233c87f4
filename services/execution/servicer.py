"""treadle.execution.v1.ExecutionService: from messages to the domain and back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing

from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh.batch import answer_each
from mesh.call import Call
from mesh.errors import TreadleError
from mesh.ids import canonical_uuid
from mesh.paging import offset_of, offset_token, position_of, position_token, turn_of, turn_token
from services.execution.asked import Asked
from services.execution.cancellation import Cancellation
from services.execution.creation import Creation, Wanted
from services.execution.documents import graph_message
from services.execution.errors import database_away, execution_not_found
from services.execution.explanations import Explanations
from services.execution.firings import Firings
from services.execution.graphs import Graphs, GraphVersion
from services.execution.history import MAX_PAGE_CHARS, History
from services.execution.live import LiveRuns
from services.execution.messages import execution_message
from services.execution.notices import Notices
from services.execution.repository.executions import ExecutionRepository, Record
from services.execution.retries import retry_of
from services.execution.reviews import Reviews
from services.execution.wait_reasons import WaitReasons

_DEFAULT_PAGE = 50
_DEFAULT_EVENTS = 200
_DEFAULT_FIRINGS = 100
_DEFAULT_REVIEWS = 100
# How long accepting an execution may take, and what is left of the caller's time to say that it did not work.
_CREATE_S = 4.5
_SPARE_S = 1.0


class ExecutionServicer:
    """The handlers of ExecutionService. Whatever is not the caller's own does not exist for it."""

    def __init__(
        self,
        *,
        repository: ExecutionRepository,
        graphs: Graphs,
        creation: Creation,
        history: History,
        firings: Firings,
        reviews: Reviews,
        explanations: Explanations,
        cancellation: Cancellation,
        wait_reasons: WaitReasons,
        notices: Notices,
        live: LiveRuns,
    ) -> None:
        self._repository = repository
        self._graphs = graphs
        self._creation = creation
        self._history = history
        self._firings = firings
        self._reviews = reviews
        self._explanations = explanations
        self._cancellation = cancellation
        self._wait_reasons = wait_reasons
        self._notices = notices
        self._live = live

    async def create_execution(self, request: pb.CreateExecutionRequest, call: Call) -> pb.CreateExecutionResponse:
        """Accepts an execution: durable when this returns, under way a moment later."""
        # A database that hangs answers nobody, here and in the services that this one asks.
        try:
            async with asyncio.timeout(min(call.remaining_s - _SPARE_S, _CREATE_S)):
                return await self._create(request, call.caller.user_id)
        except TimeoutError as hung:
            raise database_away() from hung

    async def _create(self, request: pb.CreateExecutionRequest, owner_id: str) -> pb.CreateExecutionResponse:
        asked = Asked.by(request)
        try:
            graph = await self._fit_graph(request, owner_id, asked)
        except TreadleError:
            # The graph may have changed, or be gone, since a first call with this request_id; what that made stands.
            made = await self._creation.made_before(owner_id, asked.request_id, asked.request_hash) if asked.request_id else None
            if made is None:
                raise
            return pb.CreateExecutionResponse(execution=execution_message(made))
        wanted = Wanted(
            owner_id=owner_id,
            graph_id=graph.graph_id,
            graph_version=graph.version,
            inputs=asked.inputs,
            input_masks=asked.masks,
            dry_run=request.dry_run,
            request_id=asked.request_id,
            request_hash=asked.request_hash,
            timezone=asked.timezone,
            agents=graph.agents,
            graph_revision=graph.revision,
        )
        return pb.CreateExecutionResponse(execution=await self._accept(wanted))

    async def _fit_graph(self, request: pb.CreateExecutionRequest, owner_id: str, asked: Asked) -> GraphVersion:
        """The graph that is asked for. Raises NotFoundError, and InvalidArgumentError with all that keeps it from running with these."""
        if request.draft:
            graph = await self._graphs.get_draft(owner_id, request.graph_id, request.graph_revision)
        else:
            graph = await self._graphs.get(owner_id, request.graph_id, request.graph_version)
        asked.check(graph.plan)
        return graph

    async def get_execution(self, request: pb.GetExecutionRequest, call: Call) -> pb.GetExecutionResponse:
        """An execution with its inputs and outputs, and why it waits."""
        record = await (self._head if request.view == pb.EXECUTION_VIEW_BASIC else self._own)(request.execution_id, call)
        return pb.GetExecutionResponse(execution=execution_message(record, await self._wait_reasons.of(record)))

    async def get_execution_graph(self, request: pb.GetExecutionGraphRequest, call: Call) -> pb.GetExecutionGraphResponse:
        """The graph that an execution runs."""
        record = await self._head(request.execution_id, call)
        text = await self._repository.get_snapshot(*record.snapshot)
        if text is None:
            # Erased since, with all the rest of its owner's.
            raise execution_not_found(request.execution_id)
        graph = graph_message(text)
        graph.id, graph.version = record.graph_id, record.graph_version
        return pb.GetExecutionGraphResponse(graph=graph)

    async def list_executions(self, request: pb.ListExecutionsRequest, call: Call) -> pb.ListExecutionsResponse:
        """A page of the caller's executions."""
        size = request.page_size or _DEFAULT_PAGE
        status = pb.ExecutionStatus.Name(request.status).removeprefix("EXECUTION_STATUS_") if request.status else ""
        parent_id = canonical_uuid(request.parent_id)
        if request.parent_id and parent_id is None:
            return pb.ListExecutionsResponse()
        records = await self._repository.find(
            call.caller.user_id,
            graph_id=request.graph_id,
            status=status,
            parent_id=parent_id,
            before=position_of(request.page_token),
            limit=size + 1,
        )
        page = _page(records[:size])
        token = position_token(records[len(page) - 1].create_time, page[-1].id) if len(records) > len(page) else ""
        return pb.ListExecutionsResponse(executions=page, next_page_token=token)

    async def list_execution_events(self, request: pb.ListExecutionEventsRequest, call: Call) -> pb.ListExecutionEventsResponse:
        """A page of events, from the beginning on or from the end back."""
        record = await self._head(request.execution_id, call)
        size = request.page_size or _DEFAULT_EVENTS
        after_seq, before_seq = turn_of(request.page_token) or (request.after_seq, request.before_seq)
        if before_seq:
            events = await self._history.events_before(record, before_seq, after_seq, size)
            token = turn_token(after_seq, events[0].seq) if events and events[0].seq > after_seq + 1 else ""
        else:
            events = await self._history.events(record, after_seq, size)
            token = turn_token(events[-1].seq, 0) if events and events[-1].seq < record.last_seq else ""
        return pb.ListExecutionEventsResponse(events=events, next_page_token=token)

    async def watch_execution(self, request: pb.WatchExecutionRequest, call: Call) -> AsyncIterator[pb.WatchExecutionResponse]:
        """The events after `after_seq` as they come, to the terminal one."""
        live = self._live.get(request.execution_id, call.caller.user_id)
        record = await self._head(request.execution_id, call) if live is None else live.record
        async with aclosing(self._history.watch(record, request.after_seq, self._notices.bus)) as batches:
            async for batch in batches:
                for event in batch:
                    yield pb.WatchExecutionResponse(event=event)

    async def list_node_executions(self, request: pb.ListNodeExecutionsRequest, call: Call) -> pb.ListNodeExecutionsResponse:
        """A page of firings."""
        record = await self._own(request.execution_id, call)
        first, size = offset_of(request.page_token), request.page_size or _DEFAULT_FIRINGS
        page = await self._firings.page(record, request.node_id, first, size)
        token = "" if page.next is None else offset_token(page.next)
        return pb.ListNodeExecutionsResponse(node_executions=page.firings, next_page_token=token)

    async def cancel_execution(self, request: pb.CancelExecutionRequest, call: Call) -> pb.CancelExecutionResponse:
        """Stops an execution and waits a moment for its end."""
        record = await self._own(request.execution_id, call)
        ended = await self._cancellation.cancel(record, max(call.remaining_s - 1.0, 0.0))
        return pb.CancelExecutionResponse(execution=execution_message(ended))

    async def get_execution_value(self, request: pb.GetExecutionValueRequest, call: Call) -> pb.GetExecutionValueResponse:
        """A value that events refer to."""
        record = await self._head(request.execution_id, call)
        return pb.GetExecutionValueResponse(value=JsonValue(json=await self._history.value(record, request.sha256)))

    async def list_execution_reviews(self, request: pb.ListExecutionReviewsRequest, call: Call) -> pb.ListExecutionReviewsResponse:
        """A page of reviews."""
        record = await self._own(request.execution_id, call)
        first, size = offset_of(request.page_token), request.page_size or _DEFAULT_REVIEWS
        page = await self._reviews.page(record, request.status, first, size)
        token = "" if page.next is None else offset_token(page.next)
        return pb.ListExecutionReviewsResponse(reviews=page.reviews, next_page_token=token)

    async def decide_execution_reviews(self, request: pb.DecideExecutionReviewsRequest, call: Call) -> pb.DecideExecutionReviewsResponse:
        """Decides reviews, all or none."""
        record = await self._own(request.execution_id, call)
        return pb.DecideExecutionReviewsResponse(reviews=await self._reviews.decide(record, request.reviews))

    async def retry_execution(self, request: pb.RetryExecutionRequest, call: Call) -> pb.RetryExecutionResponse:
        """Runs an execution again, with what it completed taken over."""
        record = await self._own(request.execution_id, call)
        wanted = retry_of(record, request_id=request.request_id.lower(), is_dry=request.dry_run)
        return pb.RetryExecutionResponse(execution=await self._accept(wanted))

    async def explain_execution(self, request: pb.ExplainExecutionRequest, call: Call) -> pb.ExplainExecutionResponse:
        """Why nodes fired as they did."""
        record = await self._own(request.execution_id, call)
        return pb.ExplainExecutionResponse(nodes=await self._explanations.of(record, request.node_id))

    async def batch_get_executions(self, request: pb.BatchGetExecutionsRequest, call: Call) -> pb.BatchGetExecutionsResponse:
        """Several executions."""
        answers = await answer_each(self.get_execution, request.requests, call)
        return pb.BatchGetExecutionsResponse(answers=[pb.GetExecutionAnswer(response=answer) for answer in answers])

    async def batch_list_executions(self, request: pb.BatchListExecutionsRequest, call: Call) -> pb.BatchListExecutionsResponse:
        """Several pages of executions."""
        answers = await answer_each(self.list_executions, request.requests, call)
        return pb.BatchListExecutionsResponse(answers=[pb.ListExecutionsAnswer(response=answer) for answer in answers])

    async def batch_list_execution_events(
        self, request: pb.BatchListExecutionEventsRequest, call: Call
    ) -> pb.BatchListExecutionEventsResponse:
        """Pages of events of several executions."""
        answers = await answer_each(self.list_execution_events, request.requests, call)
        return pb.BatchListExecutionEventsResponse(answers=[pb.ListExecutionEventsAnswer(response=answer) for answer in answers])

    async def batch_list_node_executions(
        self, request: pb.BatchListNodeExecutionsRequest, call: Call
    ) -> pb.BatchListNodeExecutionsResponse:
        """Pages of firings of several executions."""
        answers = await answer_each(self.list_node_executions, request.requests, call)
        return pb.BatchListNodeExecutionsResponse(answers=[pb.ListNodeExecutionsAnswer(response=answer) for answer in answers])

    async def batch_list_execution_reviews(
        self, request: pb.BatchListExecutionReviewsRequest, call: Call
    ) -> pb.BatchListExecutionReviewsResponse:
        """Pages of reviews of several executions."""
        answers = await answer_each(self.list_execution_reviews, request.requests, call)
        return pb.BatchListExecutionReviewsResponse(answers=[pb.ListExecutionReviewsAnswer(response=answer) for answer in answers])

    async def _accept(self, wanted: Wanted) -> pb.Execution:
        accepted = await self._creation.create(wanted)
        if accepted.first is not None:
            await self._notices.created(accepted.record, accepted.first)
        return execution_message(accepted.record)

    async def _own(self, execution_id: str, call: Call) -> Record:
        return await _found(self._repository.get, execution_id, call)

    async def _head(self, execution_id: str, call: Call) -> Record:
        """Without inputs, masks and outputs, which may be large."""
        return await _found(self._repository.head, execution_id, call)


async def _found(look: Callable[[str, str], Awaitable[Record | None]], execution_id: str, call: Call) -> Record:
    known = canonical_uuid(execution_id)
    record = await look(known, call.caller.user_id) if known else None
    if record is None:
        raise execution_not_found(execution_id)
    return record


def _page(records: Iterable[Record]) -> list[pb.Execution]:
    """The first executions, at least one, that fit into one message together."""
    page: list[pb.Execution] = []
    size = 0
    for record in records:
        message = execution_message(record)
        size += message.ByteSize()
        if page and size > MAX_PAGE_CHARS:
            break
        page.append(message)
    return page
