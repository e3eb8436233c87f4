"""The gRPC door: `grpc.aio` handlers made from the contracts, one dispatcher behind them; health and reflection beside."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from mesh.call import Call
from mesh.chain.request_id import HEADER as REQUEST_ID
from mesh.chain.request_id import harmless_or_new
from mesh.contract import Method, services
from mesh.dispatch import Dispatcher, Read
from mesh.errors import InvalidArgumentError, TreadleError, UnimplementedError
from mesh.http.errors import BodyTooLargeError
from mesh.limits import READ_BEYOND
from mesh.settings import Settings
from mesh.status import DETAILS, to_status

# The core drops calls at random once this many wait to be accepted; its own limit of 1,000 is reached by one burst.
MAX_PENDING = 100_000
KEEPALIVE_EVERY_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000
# Clients of the mesh ping every 30 s; more often than this they are sent away.
MIN_PING_EVERY_MS = 10_000

_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class GrpcDoor:
    """A gRPC server on one address. `bind`, then `add` what it serves, then `start`."""

    def __init__(self, settings: Settings, health: HealthServicer) -> None:
        """`health` answers for grpc.health.v1.Health."""
        self._server = grpc.aio.server(options=_options(settings))
        self._max_bytes = settings.max_message_bytes
        health_pb2_grpc.add_HealthServicer_to_server(health, self._server)
        self._server.add_generic_rpc_handlers(tuple(_reflection_handlers()))

    def bind(self, address: str) -> str:
        """Takes the address, `host:port` or `unix:/path`, and returns it with the port it got. Raises RuntimeError when it is taken."""
        port = self._server.add_insecure_port(address)
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    def add(self, dispatcher: Dispatcher, others: "Sequence[grpc.GenericRpcHandler[Any, Any]]" = ()) -> None:
        """Serves the dispatcher's methods, and `others` as they are."""
        handlers = {method.full_name: _handler(dispatcher, method, self._max_bytes) for method in dispatcher.methods.values()}
        # Asked in order: what nobody before it knows is unknown.
        self._server.add_generic_rpc_handlers((_Known(handlers), *others, _Unknown()))

    async def start(self) -> None:
        """Takes calls from now on."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls at once and waits at most `grace_s` for those in flight, then cancels them."""
        await self._server.stop(grace_s)


# Generic for the type checker only.
class _Known(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """The methods of all services together: one for each service would be asked in turn, with each call."""

    def __init__(self, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]") -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._handlers.get(handler_call_details.method)


class _Unknown(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Refuses in our words what no service here knows."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        error = UnimplementedError(
            "There is no such method here.", reason="METHOD_UNKNOWN", metadata={"method": handler_call_details.method}
        )

        async def refuse(_: Any, context: Context) -> None:
            metadata = dict(context.invocation_metadata() or ())
            await _refuse(context, harmless_or_new(str(metadata.get(REQUEST_ID, ""))), error)

        return grpc.stream_stream_rpc_method_handler(refuse)


def _handler(dispatcher: Dispatcher, method: Method, max_bytes: int) -> "grpc.RpcMethodHandler[Any, Any]":
    """Handlers take and give bytes: a message that does not parse is answered in our words, not by the library."""
    if method.is_server_streaming:
        return grpc.unary_stream_rpc_method_handler(_stream(dispatcher, method, max_bytes))
    return grpc.unary_unary_rpc_method_handler(_unary(dispatcher, method, max_bytes))


def _unary(dispatcher: Dispatcher, method: Method, max_bytes: int) -> Callable[..., Any]:
    async def handle(data: bytes, context: Context) -> bytes:
        call = _new_call(dispatcher, method, context)
        try:
            response = await dispatcher.unary(call, _reader(method, data, max_bytes))
        except TreadleError as raised:
            error = raised
        else:
            # All at the end: headers of their own before the answer cost another turn of the core, half as much as a whole call.
            context.set_trailing_metadata((*call.response_headers.items(), (REQUEST_ID, call.request_id)))
            return response.SerializeToString()
        return await _refuse(context, call.request_id, error)

    return handle


def _stream(dispatcher: Dispatcher, method: Method, max_bytes: int) -> Callable[..., Any]:
    # Writes to the context, so that a cancellation while the client is slow ends the handler here and now.
    async def handle(data: bytes, context: Context) -> None:
        call = _new_call(dispatcher, method, context)
        try:
            async with aclosing(dispatcher.stream(call, _reader(method, data, max_bytes))) as responses:
                is_first = True
                async for response in responses:
                    if is_first and call.response_headers:
                        await context.send_initial_metadata(tuple(call.response_headers.items()))
                    is_first = False
                    await context.write(response.SerializeToString())
        except TreadleError as raised:
            error = raised
        else:
            context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
            return
        await _refuse(context, call.request_id, error)

    return handle


def _new_call(dispatcher: Dispatcher, method: Method, context: Context) -> Call:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return dispatcher.new_call(method, metadata, context.time_remaining())


def _reader(method: Method, data: bytes, max_bytes: int) -> Read:
    async def read() -> Message:
        if len(data) > max_bytes:
            raise BodyTooLargeError(max_bytes)
        try:
            return method.request_type.FromString(data)
        except DecodeError:
            raise InvalidArgumentError("The message does not parse.", reason="MESSAGE_MALFORMED") from None

    return read


async def _refuse(context: Context, request_id: str, error: TreadleError) -> bytes:
    trailing = ((DETAILS, to_status(error).SerializeToString()), (REQUEST_ID, request_id))
    await context.abort(_CODES[int(error.code)], error.message, trailing)
    raise AssertionError("abort raises")


def _reflection_handlers() -> "list[grpc.GenericRpcHandler[Any, Any]]":
    """Reflection of the whole mesh, under both of its names: the messages of v1 and v1alpha are the same on the wire."""
    names = [*services(), health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, _REFLECTION_V1, reflection.SERVICE_NAME]
    servicer = ReflectionServicer(names)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    return [grpc.method_handlers_generic_handler(name, methods) for name in (_REFLECTION_V1, reflection.SERVICE_NAME)]


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # Two servers must not silently share a port.
        ("grpc.so_reuseport", 0),
        ("grpc.server.max_pending_requests", MAX_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_PENDING),
        # What is larger still the library refuses in its own words.
        ("grpc.max_receive_message_length", READ_BEYOND * settings.max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_EVERY_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_EVERY_MS),
        ("grpc.http2.max_pings_without_data", 0),
    ]
