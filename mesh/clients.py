"""Clients of other services: one channel per target, and on every call a deadline, the caller's identity and the trace.

Generated stubs work on `clients.channel("graph")` as on any channel; what goes wrong comes out as TreadleError.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from mesh import errors
from mesh.call import FORWARDED_FOR, current_call
from mesh.chain.auth import ON_BEHALF_OF
from mesh.chain.deadline import exceeded
from mesh.chain.request_id import HEADER as REQUEST_ID
from mesh.contract import Method, methods
from mesh.dispatch import Dispatcher, Read
from mesh.errors import TreadleError
from mesh.identity.service_token import HEADER as SERVICE_TOKEN
from mesh.identity.service_token import ServiceTokens
from mesh.settings import Settings
from mesh.status import DETAILS, from_status
from mesh.telemetry import TRACEPARENT, outgoing_traceparent

KEEPALIVE_EVERY_MS = 30_000
KEEPALIVE_TIMEOUT_MS = 10_000
MAX_RECONNECT_BACKOFF_MS = 2_000
MAX_ATTEMPTS = 3

# What a call that is answered by nobody's words becomes; the library's own text names addresses.
_BARE = {
    grpc.StatusCode.DEADLINE_EXCEEDED: (errors.DeadlineExceededError, "The {} service did not answer in time."),
    grpc.StatusCode.UNIMPLEMENTED: (errors.UnimplementedError, "The {} service does not know this method."),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (errors.ResourceExhaustedError, "The {} service refused: too much, or too large."),
    grpc.StatusCode.UNAVAILABLE: (errors.UnavailableError, "The {} service is away for now. Try again shortly."),
    grpc.StatusCode.CANCELLED: (errors.UnavailableError, "The {} service broke off. Try again shortly."),
}


class Clients:
    """Makes channels, one per target. Copies made by `for_workload` share them."""

    def __init__(self, settings: Settings, workload: str, tokens: ServiceTokens) -> None:
        """`workload` is whom the callee sees. Make and use it inside the running event loop."""
        self.workload = workload
        self._tokens = tokens
        self._targets = _targets(settings.service_targets)
        self._own_target: list[str] = [settings.default_target]
        self._max_bytes = settings.max_message_bytes
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._served_here: list[Dispatcher] = []

    def for_workload(self, workload: str) -> "Clients":
        """The same channels under another name."""
        other = object.__new__(Clients)
        other.__dict__.update(self.__dict__)
        other.workload = workload
        return other

    def set_default_target(self, target: str) -> None:
        """Where services are that the settings do not place: the process's own door, once it has a port."""
        if not self._own_target[0]:
            self._own_target[0] = target

    def serve_here(self, dispatcher: Dispatcher) -> None:
        """Unary calls to services of this process go straight to their dispatcher, through the same chain, unless the settings place the
        service elsewhere. Such calls hand over messages as they are: neither side may change what it gave or got.
        """
        self._served_here.append(dispatcher)

    def target(self, service: str) -> str:
        """The gRPC target of a service. Raises LookupError when nobody said where it is."""
        found = self._targets.get(service, "") or self._own_target[0]
        if not found:
            raise LookupError(f"no target for service {service}")
        return found

    def channel(self, service: str) -> grpc.aio.Channel:
        """A channel for the generated stubs of `service` (its short name, such as `graph`). Do not close it."""
        target = self.target(service)
        if target not in self._channels:
            self._channels[target] = grpc.aio.insecure_channel(target, channel_options(self._max_bytes))
        here = [] if service in self._targets else self._served_here
        return cast(grpc.aio.Channel, _MeshChannel(self._channels[target], service, self._metadata, here))

    async def close(self) -> None:
        """Closes all channels; calls in flight are cancelled."""
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close(None)

    def _metadata(self) -> list[tuple[str, str]]:
        pairs = [(SERVICE_TOKEN, self._tokens.token(self.workload)), (TRACEPARENT, outgoing_traceparent())]
        call = current_call.get()
        if call is not None:
            pairs.append((REQUEST_ID, call.request_id))
            if call.source_address:
                pairs.append((FORWARDED_FOR, call.source_address))
            if call.caller.bearer:
                pairs.append(("authorization", f"Bearer {call.caller.bearer}"))
            if call.caller.actor_id:
                pairs.append((ON_BEHALF_OF, call.caller.user_id))
        return pairs


def channel_options(max_message_bytes: int) -> list[tuple[str, int | str]]:
    """Options of every client channel of the mesh."""
    return [
        ("grpc.service_config", json.dumps(service_config())),
        ("grpc.max_receive_message_length", max_message_bytes + 1024 * 1024),
        ("grpc.keepalive_time_ms", KEEPALIVE_EVERY_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_BACKOFF_MS),
        ("grpc.initial_reconnect_backoff_ms", 100),
    ]


def service_config() -> dict[str, Any]:
    """The one retry layer: idempotent methods, UNAVAILABLE only, with a budget. The library's back-off has full jitter."""
    names = [{"service": method.service, "method": method.name} for method in methods().values() if method.is_idempotent]
    policy = {
        "maxAttempts": MAX_ATTEMPTS,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {
        "methodConfig": [{"name": names, "retryPolicy": policy}],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }


def error_of(failure: grpc.aio.AioRpcError, service: str) -> TreadleError:
    """The typed error of a failed call. Text that is not our services' own stays out of it."""
    for key, value in cast(Iterable[tuple[str, str | bytes]], failure.trailing_metadata() or ()):
        if key == DETAILS and isinstance(value, bytes):
            with suppress(DecodeError):
                return from_status(Status.FromString(value))
    kind, sentence = _BARE.get(failure.code(), (errors.InternalError, "The {} service failed."))
    return kind(sentence.format(service), metadata={"service": service})


class _MeshChannel:
    """Stands between a generated stub and the real channel. Interceptors of grpc.aio would cost two tasks per call."""

    def __init__(
        self, channel: grpc.aio.Channel, service: str, metadata: Callable[[], list[tuple[str, str]]], here: Sequence[Dispatcher]
    ) -> None:
        self._channel = channel
        self._service = service
        self._metadata = metadata
        self._here = here

    def unary_unary(self, path: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        inner = self._channel.unary_unary(path, *args, **kwargs)
        method = methods()[path]

        async def call(  # `timeout` is how generated stubs say it
            request: Message,
            timeout: float | None = None,  # noqa: ASYNC109
            metadata: Sequence[tuple[str, str]] = (),
        ) -> Message:
            timeout_s, pairs = _timeout_s(method, timeout), (*self._metadata(), *metadata)
            for dispatcher in self._here:
                if path in dispatcher.methods:
                    return await dispatcher.unary(dispatcher.new_call(method, dict(pairs), timeout_s), _reader(request))
            try:
                return cast(Message, await inner(request, timeout=timeout_s, metadata=pairs))
            except grpc.aio.AioRpcError as failure:
                error = error_of(failure, self._service)
            raise error

        return call

    def unary_stream(self, path: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        inner = self._channel.unary_stream(path, *args, **kwargs)
        method = methods()[path]

        async def call(
            request: Message,
            timeout: float | None = None,  # noqa: ASYNC109
            metadata: Sequence[tuple[str, str]] = (),
        ) -> AsyncIterator[Message]:
            stream = inner(request, timeout=_timeout_s(method, timeout), metadata=(*self._metadata(), *metadata))
            try:
                async for message in stream:
                    yield cast(Message, message)
            except grpc.aio.AioRpcError as failure:
                raise error_of(failure, self._service) from None
            finally:
                # A stream that is dropped without this never ends on the other side.
                stream.cancel()

        return call


def _reader(request: Message) -> Read:
    async def read() -> Message:
        return request

    return read


def _timeout_s(method: Method, asked_s: float | None) -> float:
    """What the call may take: the method's own limit, less when the caller asks for less or has less left itself.

    Raises DeadlineExceededError when nothing is left: a call that nobody waits for is not made.
    """
    call = current_call.get()
    limits = [method.timeout_s]
    if asked_s is not None:
        limits.append(asked_s)
    if call is not None:
        limits.append(call.remaining_s)
    timeout_s = min(limits)
    if timeout_s <= 0:
        raise exceeded()
    return timeout_s


def _targets(text: str) -> dict[str, str]:
    pairs = (item.split("=", 1) for item in text.split(",") if item.strip())
    return {name.strip(): target.strip() for name, target in pairs}
