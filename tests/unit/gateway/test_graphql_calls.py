"""What a service is told of the one who asks over GraphQL."""

from typing import Any

from google.protobuf.message import Message
from treadle.graph.v1.graph_service_pb2 import GetGraphRequest, GetGraphResponse

from gateway.graphql.budget import Budget
from gateway.graphql.calls import Calls
from mesh.call import Call, Caller, current_call
from mesh.contract import methods

METHOD = methods()["/treadle.graph.v1.GraphService/GetGraph"]


class Clients:
    """Clients that note in whose call they are used."""

    def __init__(self) -> None:
        self.seen: list[Call | None] = []

    def channel(self, service: str) -> "Clients":
        """Themselves."""
        assert service == "graph"
        return self

    def unary_unary(self, *_: Any, **__: Any) -> Any:
        """A method that answers with nothing."""

        async def call(request: Message) -> Message:
            del request
            self.seen.append(current_call.get())
            return GetGraphResponse()

        return call


async def test_a_service_learns_who_it_is_and_where() -> None:
    clients, caller = Clients(), Caller("ann", bearer="token")
    # What the edge appends stands last; what stands before it anyone may have made up.
    calls = Calls(clients, caller, Budget(1), "10.1.1.1, 192.0.2.7")  # type: ignore[arg-type]
    await calls.make(METHOD, GetGraphRequest())
    (call,) = clients.seen
    assert call is not None
    assert (call.caller, call.source_address) == (caller, "192.0.2.7")
    assert call.request_id
    assert current_call.get() is None
