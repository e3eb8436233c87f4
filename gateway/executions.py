"""What the gateway asks the services for a caller, over gRPC and with the caller's own token."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from treadle.execution.v1.execution_service_pb2 import (
    ExecutionStatus,
    ExecutionView,
    GetExecutionRequest,
    ListExecutionEventsRequest,
)
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.graph.v1.graph_service_pb2 import GetGraphRequest
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub

from gateway.events import EventText, text_of
from mesh.call import FORWARDED_FOR, Call, Caller, current_call
from mesh.contract import methods
from mesh.errors import ResourceExhaustedError
from mesh.ids import uuid7

if TYPE_CHECKING:
    from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub
    from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceAsyncStub

    from mesh.clients import Clients

# Events per page of a replay.
PAGE_SIZE = 200
# The service refuses because it has too much to do, not because the answer is too large.
OVERLOADED = "OVERLOADED"

_ENDED = frozenset(
    {
        ExecutionStatus.EXECUTION_STATUS_COMPLETED,
        ExecutionStatus.EXECUTION_STATUS_TERMINATED,
        ExecutionStatus.EXECUTION_STATUS_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class Followed:
    """An execution as far as its followers care."""

    id: str
    graph_id: str
    last_seq: int
    is_ended: bool


class Executions:
    """Executions and their graphs, as a caller may see them. Raises NOT_FOUND for those of others."""

    def __init__(self, clients: "Clients") -> None:
        """`clients` are those of the workload `gateway`."""
        self._clients = clients

    @cached_property
    def _executions(self) -> "ExecutionServiceAsyncStub":
        # Not before the first use: only a running process knows where its services are.
        return ExecutionServiceStub(self._clients.channel("execution"))

    @cached_property
    def _graphs(self) -> "GraphServiceAsyncStub":
        return GraphServiceStub(self._clients.channel("graph"))

    async def get(self, caller: Caller, execution_id: str) -> Followed:
        """The execution. Raises NOT_FOUND (EXECUTION_NOT_FOUND)."""
        with acting_for(caller, "/treadle.execution.v1.ExecutionService/GetExecution"):
            request = GetExecutionRequest(execution_id=execution_id, view=ExecutionView.EXECUTION_VIEW_BASIC)
            found = (await self._executions.GetExecution(request)).execution
        return Followed(found.id, found.graph_id, found.last_seq, found.status in _ENDED)

    async def events(self, caller: Caller, execution_id: str, after_seq: int) -> Sequence[EventText]:
        """The next events after `after_seq`: a page of them, fewer when their values are so large that they fill no message together."""
        size = PAGE_SIZE
        while True:
            request = ListExecutionEventsRequest(execution_id=execution_id, after_seq=after_seq, page_size=size)
            try:
                with acting_for(caller, "/treadle.execution.v1.ExecutionService/ListExecutionEvents"):
                    page = await self._executions.ListExecutionEvents(request)
                return [text_of(event) for event in page.events]
            except ResourceExhaustedError as error:
                if size == 1 or error.reason == OVERLOADED:
                    raise
                size = max(1, size // 5)

    async def check_graph(self, caller: Caller, graph_id: str) -> str:
        """The graph's id. Raises NOT_FOUND (GRAPH_NOT_FOUND)."""
        with acting_for(caller, "/treadle.graph.v1.GraphService/GetGraph"):
            return str((await self._graphs.GetGraph(GetGraphRequest(graph_id=graph_id))).graph.id)


@contextmanager
def acting_for(caller: Caller, full_name: str, forwarded_for: str = "") -> Iterator[None]:
    """Outgoing calls in this block are made for the caller, each within its method's deadline. `forwarded_for` is the header."""
    method = methods()[full_name]
    call = Call(method, {FORWARDED_FOR: forwarded_for}, time.monotonic() + method.timeout_s, request_id=uuid7(), caller=caller)
    outer = current_call.set(call)
    try:
        yield
    finally:
        current_call.reset(outer)
