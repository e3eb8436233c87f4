"""A journal that a test writes by hand, served over gRPC as the execution, graph and auth services would, and published on the bus."""

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NoReturn

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Raw
from nats.aio.client import Client
from treadle.auth.v1 import auth_service_pb2 as auth
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceServicer
from treadle.execution.v1 import execution_service_pb2 as execution
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceServicer
from treadle.graph.v1 import graph_service_pb2 as graph
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceServicer

from mesh.errors import NotFoundError, TreadleError, UnavailableError
from mesh.event_lines import STATUS, WITH_VALUE, Line, write_message
from mesh.ids import uuid7
from mesh.status import to_status
from mesh.streams import GRAPH_HEADER, execution_subject
from services.auth.keys import KeyRing

_Kind = execution.EventKind
_Status = execution.ExecutionStatus


class Journal(ExecutionServiceServicer, GraphServiceServicer, AuthServiceServicer):
    """Executions that do what the test says. Only their owner sees them."""

    def __init__(self, bus: Client, ring: KeyRing) -> None:
        self._bus = bus
        self._ring = ring
        self._owner: dict[str, str] = {}
        self._graph: dict[str, str] = {}
        self._events: dict[str, list[execution.Event]] = defaultdict(list)
        self.is_away = False
        self.pages = 0

    def start(self, owner: str, graph_id: str = "") -> str:
        """A new execution without events."""
        execution_id = uuid7()
        self._owner[execution_id] = owner
        self._graph[execution_id] = graph_id or uuid7()
        return execution_id

    def graph_of(self, execution_id: str) -> str:
        """The graph of an execution."""
        return self._graph[execution_id]

    async def append(self, execution_id: str, count: int, *, is_last: bool = False, is_published: bool = True, value: str = "1") -> None:
        """Commits `count` consecutive events and, unless the bus is to lose them, publishes them."""
        known = self._events[execution_id]
        fresh = []
        for number in range(count):
            kind = _Kind.EVENT_KIND_EXECUTION_COMPLETED if is_last and number == count - 1 else _Kind.EVENT_KIND_NODE_OUTPUT
            event = execution.Event(
                seq=len(known) + 1 + number, execution_id=execution_id, kind=kind, time=Timestamp(), status=STATUS[kind]
            )
            if kind in WITH_VALUE:
                event.value.json = value
            fresh.append(event)
        known.extend(fresh)
        if is_published:
            await self.publish(execution_id, fresh)

    async def publish(self, execution_id: str, fresh: Sequence[execution.Event]) -> None:
        """Sends events to the bus, as a worker does after their commit."""
        lines = [Line(event.kind, 0, value=Raw((event.value.json or "null").encode())) for event in fresh]
        payload = write_message(execution_id, fresh[0].seq, (), lines)
        subject = execution_subject(self._owner[execution_id], execution_id)
        await self._bus.publish(subject, payload, headers={GRAPH_HEADER: self._graph[execution_id]})
        # Whoever listens from now on does not hear it any more.
        await self._bus.flush()

    async def GetExecution(  # noqa: N802
        self, request: execution.GetExecutionRequest, context: Any
    ) -> execution.GetExecutionResponse:
        known = await self._find(request.execution_id, context)
        is_ended = bool(known) and known[-1].kind == _Kind.EVENT_KIND_EXECUTION_COMPLETED
        found = execution.Execution(
            id=request.execution_id,
            graph_id=self._graph[request.execution_id],
            last_seq=len(known),
            status=_Status.EXECUTION_STATUS_COMPLETED if is_ended else _Status.EXECUTION_STATUS_RUNNING,
        )
        return execution.GetExecutionResponse(execution=found)

    async def ListExecutionEvents(  # noqa: N802
        self, request: execution.ListExecutionEventsRequest, context: Any
    ) -> execution.ListExecutionEventsResponse:
        known = await self._find(request.execution_id, context)
        self.pages += 1
        return execution.ListExecutionEventsResponse(events=known[request.after_seq :][: request.page_size or 200])

    async def GetGraph(self, request: graph.GetGraphRequest, context: Any) -> graph.GetGraphResponse:  # noqa: N802
        owned = {self._graph[known] for known, owner in self._owner.items() if owner == _caller(context)}
        if request.graph_id not in owned:
            await _fail(context, NotFoundError("No such graph.", reason="GRAPH_NOT_FOUND"))
        return graph.GetGraphResponse(graph=graph.Graph(id=request.graph_id))

    async def GetJwks(self, request: auth.GetJwksRequest, context: Any) -> auth.GetJwksResponse:  # noqa: N802
        return auth.GetJwksResponse(keys=[auth.Jwk(**key.public_jwk) for key in self._ring.keys])

    async def _find(self, execution_id: str, context: Any) -> list[execution.Event]:
        if self.is_away:
            await _fail(context, UnavailableError("Away."))
        if self._owner.get(execution_id) != _caller(context):
            await _fail(context, NotFoundError("No such execution.", reason="EXECUTION_NOT_FOUND"))
        return self._events[execution_id]


def _caller(context: Any) -> str:
    headers = dict(context.invocation_metadata())
    payload = headers["authorization"].split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"])


async def _fail(context: Any, error: TreadleError) -> NoReturn:
    details = to_status(error).SerializeToString()
    context.set_trailing_metadata((("grpc-status-details-bin", details),))
    code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
    await context.abort(code, error.message)
    raise asyncio.CancelledError  # not reached: abort raises
