"""Calls to the services on behalf of a visitor, for any method of the contracts."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from gateway.executions import acting_for
from gateway.graphql.budget import Budget
from mesh import jsontext
from mesh.call import Caller
from mesh.clients import Clients
from mesh.contract import Method
from mesh.errors import InvalidArgumentError
from mesh.http.decode import body_reader


def request_of(method: Method, arguments: Mapping[str, Any]) -> Message:
    """The request message from plain JSON values by field name. Raises INVALID_ARGUMENT with the paths of what does not fit."""
    read = body_reader(method.request_descriptor, "*")
    try:
        text = jsontext.dumps(arguments).encode()
    except (TypeError, ValueError):
        raise InvalidArgumentError("A text among the arguments is no Unicode.") from None
    except RecursionError:
        raise InvalidArgumentError("An argument is nested too deeply.") from None
    return method.request_type(**(read(text) if read else {}))


class Calls:
    """Unary calls of one visitor within one operation."""

    def __init__(self, clients: Clients, caller: Caller, budget: Budget, forwarded_for: str) -> None:
        """`clients` are those of the workload `gateway`; `forwarded_for` says where the visitor is."""
        self._clients = clients
        self._caller = caller
        self._budget = budget
        self._forwarded_for = forwarded_for

    async def make(self, method: Method, request: Message) -> Any:
        """The response message. Raises TreadleError."""
        call = self._clients.channel(method.domain).unary_unary(
            method.full_name,
            request_serializer=method.request_type.SerializeToString,
            response_deserializer=method.response_type.FromString,
        )
        with acting_for(self._caller, method.full_name, self._forwarded_for):
            response = await call(request)
        self._budget.load(response.ByteSize())
        return response
