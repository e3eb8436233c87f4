"""The protocol `graphql-transport-ws` on one socket: Strawberry's, with our errors, our limits, and an end that is sure."""

import asyncio
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.websockets import WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler

from gateway.graphql.context import Context
from gateway.graphql.errors import put_in_our_words
from gateway.graphql.frames import check_frame, decode
from gateway.socket import LEAVE_S, LEAVE_TRIES, STALL_S, TOO_SLOW, CloseSocket
from mesh.errors import InvalidArgumentError, ResourceExhaustedError
from mesh.logs import get_logger
from mesh.tasks import end

MAX_OPERATIONS = 100
# What a closing frame can hold.
_MAX_REASON_BYTES = 123

_log = get_logger("gateway.graphql.sockets")


class Adapter(ASGIWebSocketAdapter):
    """Sends frames in our JSON, and gives up on clients that do not read."""

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Strawberry's hook."""
        context: Context = self.ws.state.context
        if context.over.done():
            # Nor that an operation is complete: it is not.
            raise WebSocketDisconnected
        try:
            async with asyncio.timeout(STALL_S):
                await self.ws.send_text(orjson.dumps(message).decode())
        except TimeoutError:
            context.end(CloseSocket(TOO_SLOW, "too slow; come back with afterSeq"))
            raise WebSocketDisconnected from None
        except (WebSocketDisconnect, RuntimeError):
            raise WebSocketDisconnected from None

    async def close(self, code: int, reason: str) -> None:
        """Strawberry's hook. The socket is closed by whoever serves it; the first reason counts."""
        context: Context = self.ws.state.context
        context.end(CloseSocket(code, reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")))


class Handler(BaseGraphQLTransportWSHandler[Context, None]):
    """Strawberry's, for frames of strangers."""

    async def handle_message(self, message: Any) -> None:
        """Strawberry's hook."""
        try:
            check_frame(message)
        except InvalidArgumentError as error:
            await self.handle_invalid_message(error.message)
            return
        if message["type"] == "subscribe" and self.connection_acknowledged and len(self.operations) >= MAX_OPERATIONS:
            await self._refuse_operation(message["id"])
            return
        await super().handle_message(message)

    async def handle_task_exception(self, error: Exception) -> None:
        """Strawberry's hook. That a client has gone is no fault."""
        if not isinstance(error, WebSocketDisconnected):
            _log.error("graphql_socket_failed", exc_info=error)

    async def cleanup_operation(self, operation_id: str) -> None:
        """Strawberry's hook: the client has left the operation, and hears no more of it."""
        operation = self.operations.pop(operation_id, None)
        if operation is not None:
            operation.completed = True
            if operation.task is not None:
                await end(operation.task, ask_again_s=LEAVE_S, tries=LEAVE_TRIES)

    async def shutdown(self) -> None:
        """Strawberry's hook: the client has gone."""
        tasks = [operation.task for operation in self.operations.values() if operation.task is not None]
        if self.connection_init_timeout_task is not None:
            tasks.append(self.connection_init_timeout_task)
        self.operations.clear()
        await end(*tasks)

    async def _refuse_operation(self, operation_id: str) -> None:
        sentence = f"A socket can have {MAX_OPERATIONS} operations at work."
        cause = ResourceExhaustedError(sentence, reason="TOO_MANY_OPERATIONS", metadata={"limit": str(MAX_OPERATIONS)})
        error = GraphQLError(sentence, original_error=cause)
        put_in_our_words([error])
        await self.send_message({"id": operation_id, "type": "error", "payload": [error.formatted]})

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        """Strawberry's hook: no request is so wrong that the others on the socket must end."""
        del error
        return None


def decode_frame(text: str | bytes) -> object:
    """A frame's JSON. Raises JSONDecodeError, which Strawberry waits for."""
    try:
        return decode(text)
    except ValueError as error:
        raise JSONDecodeError(str(error), "", 0) from None
