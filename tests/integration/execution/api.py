"""Callers of ExecutionService, through its gRPC door."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from treadle.auth.v1.auth_service_pb2 import RegisterRequest
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.graph.v1 import draft_service_pb2 as draft_pb
from treadle.graph.v1 import graph_service_pb2 as graph_pb
from treadle.graph.v1.draft_service_pb2_grpc import DraftServiceStub
from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub
from treadle.type.v1.json_value_pb2 import JsonValue

from mesh import jsontext
from mesh.ids import uuid7

SERVICES = ["auth", "user", "graph", "block", "execution"]


def _message(graph: dict[str, Any]) -> graph_pb.Graph:
    return graph_pb.Graph(
        id=graph.get("id", ""),
        version=graph.get("version", 0),
        name=graph["name"],
        nodes=[
            graph_pb.Node(id=item["id"], block_id=item["block_id"], input_default=JsonValue(json=jsontext.dumps(item["input_default"])))
            for item in graph["nodes"]
        ],
        links=[graph_pb.Link(**item) for item in graph["links"]],
        sub_graphs=map(_message, graph.get("sub_graphs", ())),
    )


class Person:
    """Someone signed in."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.token = token
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.executions: Any = ExecutionServiceStub(channel)
        self._graphs: Any = GraphServiceStub(channel)
        self._drafts: Any = DraftServiceStub(channel)

    async def call(self, rpc: str, request: Message) -> Any:
        """A unary call of ExecutionService."""
        return await getattr(self.executions, rpc)(request, metadata=self._metadata, timeout=15)

    async def save(self, graph: dict[str, Any]) -> str:
        """Saves a graph and returns its id."""
        request = graph_pb.CreateGraphRequest(graph=_message(graph))
        answer = await self._graphs.CreateGraph(request, metadata=self._metadata)
        saved: str = answer.graph.id
        return saved

    async def replace(self, graph_id: str, graph: dict[str, Any]) -> None:
        """Makes another graph the active version."""
        await self._graphs.UpdateGraph(graph_pb.UpdateGraphRequest(graph_id=graph_id, graph=_message(graph)), metadata=self._metadata)

    async def activate(self, graph_id: str, version: int) -> None:
        """Makes a version the active one."""
        await self._graphs.ActivateGraph(graph_pb.ActivateGraphRequest(graph_id=graph_id, version=version), metadata=self._metadata)

    async def delete(self, graph_id: str) -> None:
        """Deletes a graph."""
        await self._graphs.DeleteGraph(graph_pb.DeleteGraphRequest(graph_id=graph_id), metadata=self._metadata)

    async def draft(self, graph: dict[str, Any], graph_id: str = "") -> draft_pb.Draft:
        """Saves a graph as the draft of another, or of a new one."""
        message = _message(graph)
        if graph_id:
            request: Message = draft_pb.UpdateDraftRequest(graph_id=graph_id, graph=message)
            answer = await self._drafts.UpdateDraft(request, metadata=self._metadata)
        else:
            answer = await self._drafts.CreateDraft(draft_pb.CreateDraftRequest(graph=message), metadata=self._metadata)
        draft: draft_pb.Draft = answer.draft
        return draft

    async def drop_draft(self, graph_id: str) -> None:
        """Throws a draft away."""
        await self._drafts.DeleteDraft(draft_pb.DeleteDraftRequest(graph_id=graph_id), metadata=self._metadata)

    async def run_draft(self, graph_id: str, *, revision: str = "", request_id: str = "", **inputs: str) -> pb.Execution:
        """Runs a draft; inputs are JSON text."""
        values = {name: JsonValue(json=text) for name, text in inputs.items()}
        request = pb.CreateExecutionRequest(graph_id=graph_id, draft=True, graph_revision=revision, inputs=values, request_id=request_id)
        execution: pb.Execution = (await self.call("CreateExecution", request)).execution
        return execution

    async def create(self, graph_id: str, *, request_id: str = "", **inputs: str) -> pb.Execution:
        """Creates an execution; inputs are JSON text."""
        values = {name: JsonValue(json=text) for name, text in inputs.items()}
        request = pb.CreateExecutionRequest(graph_id=graph_id, inputs=values, request_id=request_id)
        execution: pb.Execution = (await self.call("CreateExecution", request)).execution
        return execution

    async def watch(self, execution_id: str, after_seq: int = 0) -> list[pb.Event]:
        """All events after a seq, to the terminal one."""
        request = pb.WatchExecutionRequest(execution_id=execution_id, after_seq=after_seq)
        return [answer.event async for answer in self.executions.WatchExecution(request, metadata=self._metadata, timeout=20)]

    async def events(self, execution_id: str, page_size: int, after_seq: int = 0) -> list[pb.Event]:
        """All events after a seq, page by page."""
        found: list[pb.Event] = []
        token = ""
        while True:
            request = pb.ListExecutionEventsRequest(execution_id=execution_id, after_seq=after_seq, page_size=page_size, page_token=token)
            answer = await self.call("ListExecutionEvents", request)
            found += answer.events
            token = answer.next_page_token
            if not token:
                return found


class Api:
    """The services behind one gRPC door and one for HTTP."""

    def __init__(self, channel: grpc.aio.Channel, http_address: str) -> None:
        self._channel = channel
        self.http_address = http_address

    async def person(self) -> Person:
        """Someone new."""
        request = RegisterRequest(email=f"{uuid7()}@example.com", password="correct horse battery", display_name="Test")
        stub: Any = AuthServiceStub(self._channel)
        return Person(self._channel, (await stub.Register(request)).access_token)


@asynccontextmanager
async def refused(code: grpc.StatusCode, reason: str) -> AsyncIterator[dict[str, Any]]:
    """Expects an error with this code and reason; gives its other details by type."""
    details: dict[str, Any] = {}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield details
    assert caught.value.code() is code, caught.value.details()
    status = Status.FromString(dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"])  # type: ignore[arg-type,index]
    for packed in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                details[kind.__name__] = kind.FromString(packed.value)
    assert details["ErrorInfo"].reason == reason
