"""Handlers that answer from their requests, so that a test sees through the door what reached them."""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.timestamp_pb2 import Timestamp
from treadle.block.v1 import block_service_pb2 as block
from treadle.execution.v1 import execution_service_pb2 as execution
from treadle.graph.v1 import graph_service_pb2 as graph
from treadle.type.v1.json_value_pb2 import JsonValue
from treadle.user.v1 import privacy_service_pb2 as privacy
from treadle.user.v1 import user_service_pb2 as user

from mesh.call import Call
from mesh.errors import NotFoundError, UnavailableError
from tests.unit.mesh.partial import Partial


class Graphs(Partial):
    """Echoes graphs; graph "missing" does not exist, "broken" is a fault, "endless" never comes."""

    def __init__(self) -> None:
        """`ended` is set when the call for the endless graph was cancelled."""
        self.ended = asyncio.Event()

    async def create_graph(self, request: graph.CreateGraphRequest, call: Call) -> graph.CreateGraphResponse:
        """Shows the request id in the instructions."""
        response = graph.CreateGraphResponse(graph=request.graph)
        response.graph.instructions = request.request_id
        return response

    async def get_graph(self, request: graph.GetGraphRequest, call: Call) -> graph.GetGraphResponse:
        """An ETag, and the id and version that were asked for."""
        if request.graph_id == "missing":
            raise NotFoundError("No such graph.", reason="GRAPH_NOT_FOUND", metadata={"graph_id": request.graph_id})
        if request.graph_id == "broken":
            raise RuntimeError("password=hunter2")
        if request.graph_id == "endless":
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        if request.graph_id == "timeless":
            return graph.GetGraphResponse(graph=graph.Graph(create_time=Timestamp(seconds=10**15)))
        call.response_headers["etag"] = "v7"
        return graph.GetGraphResponse(graph=graph.Graph(id=request.graph_id, version=request.version))

    async def list_graphs(self, request: graph.ListGraphsRequest, call: Call) -> graph.ListGraphsResponse:
        """Shows the page size in a name."""
        return graph.ListGraphsResponse(graphs=[graph.Graph(name=str(request.page_size))], next_page_token=request.page_token)

    async def delete_graph(self, request: graph.DeleteGraphRequest, call: Call) -> graph.DeleteGraphResponse:
        """Nothing."""
        return graph.DeleteGraphResponse()

    async def activate_graph(self, request: graph.ActivateGraphRequest, call: Call) -> graph.ActivateGraphResponse:
        """Shows the version."""
        return graph.ActivateGraphResponse(graph=graph.Graph(id=request.graph_id, version=request.version))

    async def import_graph(self, request: graph.ImportGraphRequest, call: Call) -> graph.ImportGraphResponse:
        """The document as the graph's schema."""
        return graph.ImportGraphResponse(graph=graph.Graph(input_schema=request.document))

    async def export_graph(self, request: graph.ExportGraphRequest, call: Call) -> graph.ExportGraphResponse:
        """A document with what a tree would lose."""
        return graph.ExportGraphResponse(document=JsonValue(json='{"b": 1, "a": 12345678901234567890123}'))

    async def validate_graph(self, request: graph.ValidateGraphRequest, call: Call) -> graph.ValidateGraphResponse:
        """No problems."""
        return graph.ValidateGraphResponse()


class Blocks(Partial):
    """Echoes the inputs of a run."""

    async def execute_block(self, request: block.ExecuteBlockRequest, call: Call) -> block.ExecuteBlockResponse:
        """The inputs on a pin named after the block."""
        return block.ExecuteBlockResponse(outputs=[block.PinValue(name=request.block_id, value=request.inputs)])


class Executions(Partial):
    """Streams that end well, fail early, fail late, or never end."""

    def __init__(self) -> None:
        """`ended` is set when the endless stream was closed."""
        self.started = asyncio.Event()
        self.ended = asyncio.Event()

    async def create_execution(self, request: execution.CreateExecutionRequest, call: Call) -> execution.CreateExecutionResponse:
        """Echoes the inputs."""
        shown = execution.Execution(id=request.request_id, graph_id=request.graph_id, inputs=request.inputs)
        return execution.CreateExecutionResponse(execution=shown)

    async def list_executions(self, request: execution.ListExecutionsRequest, call: Call) -> execution.ListExecutionsResponse:
        """One execution in the status that was asked for."""
        return execution.ListExecutionsResponse(executions=[execution.Execution(status=request.status)])

    async def cancel_execution(self, request: execution.CancelExecutionRequest, call: Call) -> execution.CancelExecutionResponse:
        """Shows the id."""
        return execution.CancelExecutionResponse(execution=execution.Execution(id=request.execution_id))

    async def watch_execution(
        self, request: execution.WatchExecutionRequest, call: Call
    ) -> AsyncIterator[execution.WatchExecutionResponse]:
        """Two events, unless the id asks for trouble."""
        if request.execution_id == "missing":
            raise NotFoundError("No such execution.", reason="EXECUTION_NOT_FOUND")
        try:
            if request.execution_id != "silent":
                for seq in (1, 2):
                    event = execution.Event(seq=request.after_seq + seq, value=JsonValue(json='{"a":\n1}'))
                    yield execution.WatchExecutionResponse(event=event)
            if request.execution_id == "failing":
                raise UnavailableError("The journal is away.", reason="JOURNAL_AWAY")
            if request.execution_id in {"endless", "silent"}:
                self.started.set()
                await asyncio.Event().wait()
        finally:
            self.ended.set()


class Users(Partial):
    """Echoes profiles."""

    async def get_me(self, request: user.GetMeRequest, call: Call) -> user.GetMeResponse:
        """A fixed profile."""
        return user.GetMeResponse(user=user.User(id="u1", display_name="Ada"))

    async def update_me(self, request: user.UpdateMeRequest, call: Call) -> user.UpdateMeResponse:
        """Shows the mask in the time zone."""
        shown = user.User(display_name=request.user.display_name, timezone=",".join(request.update_mask.paths))
        return user.UpdateMeResponse(user=shown)


class Privacy(Partial):
    """A stream of bytes that ends well, fails early or fails late."""

    def __init__(self) -> None:
        """`fails_after` is the number of pieces before it fails; None is never."""
        self.fails_after: int | None = None

    async def export_my_data(self, request: privacy.ExportMyDataRequest, call: Call) -> AsyncIterator[privacy.ExportMyDataResponse]:
        """Three pieces with what text would not survive."""
        for n in range(3):
            if n == self.fails_after:
                raise UnavailableError("A service is away.", reason="AWAY")
            yield privacy.ExportMyDataResponse(content=b"\r\n\0\xff" + bytes([n]))
