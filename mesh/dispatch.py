"""Runs calls through the chain into their handlers. Both doors use it, so a call means the same over gRPC and over HTTP."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from google.protobuf.message import Message

from mesh.call import Call, current_call
from mesh.chain.deadline import Deadlines, Within, overdue
from mesh.chain.element import Check, Element, Leave, Link
from mesh.contract import ContractError, Method, methods_of, services
from mesh.errors import TreadleError, UnavailableError
from mesh.identity.access_token import token_revoked

UnaryHandler = Callable[[Message, Call], Awaitable[Message]]
StreamHandler = Callable[[Message, Call], AsyncIterator[Message]]
# Gives the message of a call, once. Raises InvalidArgumentError; asked only when the call has been let in.
Read = Callable[[], Awaitable[Message]]


class Dispatcher:
    """Knows the servicers of this process and the chain. What its methods raise is a TreadleError or the caller's own cancellation."""

    def __init__(self, servicers: Mapping[str, Any], chain: Sequence[Link]) -> None:
        """`servicers` maps full service names to objects with one handler per RPC. Raises ContractError, naming every gap."""
        self.chain = tuple(chain)
        self.methods: Mapping[str, Method] = {method.full_name: method for service in servicers for method in methods_of(service)}
        self._handlers = _handlers(servicers, self.methods.values())
        self._enters = [link.enter for link in self.chain if isinstance(link, Element)]
        self._checks = [link.check for link in self.chain if isinstance(link, Check)]
        self._deadlines = Deadlines()
        self._steps: set[Within] = set()
        # Streams that are open, by the identity of their calls.
        self._open: dict[int, Call] = {}
        self._stopping = False
        # What `/healthz` answers; the host keeps it true to its health.
        self.is_serving = True

    def new_call(self, method: Method, metadata: Mapping[str, str], timeout_s: float | None = None) -> Call:
        """A call that starts now. Keys of `metadata` are in lower case; `timeout_s` is what the caller waits, at most the method's own."""
        longest_s = method.timeout_s
        bounded_s = longest_s if timeout_s is None or timeout_s > longest_s else timeout_s
        return Call(method, metadata, time.monotonic() + bounded_s)

    async def unary(self, call: Call, read: Read) -> Message:
        """Runs a unary call. Raises TreadleError; CancelledError when the caller's task is cancelled."""
        outer = current_call.set(call)
        leaves: list[Leave] = []
        try:
            with self._deadlines.within(call):
                request = await self._enter(call, read, leaves)
                response = call.response = await cast(UnaryHandler, self._handlers[call.method.full_name])(request, call)
        except BaseException as raised:
            error = _leave(leaves, raised)
            if error is None or error is raised:
                raise
            raise error from raised
        else:
            _leave(leaves, None)
            return response
        finally:
            current_call.reset(outer)

    async def stream(self, call: Call, read: Read) -> AsyncGenerator[Message, None]:
        """Runs a server stream; use it under `contextlib.aclosing`, so that the handler ends when its caller goes.

        The deadline bounds the stream's age. `end_streams` ends it with UnavailableError, after which clients resume elsewhere.
        """
        # Not reset: a generator may be closed from another context. Doors run each call in a task of its own.
        current_call.set(call)
        leaves: list[Leave] = []
        try:
            with self._deadlines.within(call):
                request = await self._enter(call, read, leaves)
                responses = cast(StreamHandler, self._handlers[call.method.full_name])(request, call)
            self._open[id(call)] = call
            async with aclosing(cast(Any, responses)):
                while (response := await self._next(call, responses)) is not None:
                    yield response
        except BaseException as raised:
            # A caller that closes the stream early is no failure.
            error = _leave(leaves, None if isinstance(raised, GeneratorExit) else raised)
            if error is None or error is raised:
                raise
            raise error from raised
        else:
            _leave(leaves, None)
        finally:
            self._open.pop(id(call), None)

    def set_serving(self, is_serving: bool) -> None:
        """Sets `is_serving`."""
        self.is_serving = is_serving

    def end_streams(self) -> None:
        """Ends all streams and refuses new ones: for a process that stops."""
        self._stopping = True
        for step in self._steps:
            step.interrupt(_stopping())

    def end_streams_of(self, session_id: str) -> None:
        """Ends the streams that were opened by a sign-in, or by an API key, that is revoked."""
        for call in self._open.values():
            if call.caller.session_id == session_id:
                call.deadline, call.late = time.monotonic(), token_revoked()
        for step in self._steps:
            if step.call.caller.session_id == session_id:
                step.be_late()

    async def _enter(self, call: Call, read: Read, leaves: list[Leave]) -> Message:
        for enter in self._enters:
            leave = await enter(call)
            if leave is not None:
                leaves.append(leave)
        request = call.request = await read()
        for check in self._checks:
            check(call, request)
        return request

    async def _next(self, call: Call, responses: AsyncIterator[Message]) -> Message | None:
        if self._stopping:
            raise _stopping()
        if call.remaining_s <= 0:
            raise overdue(call)
        step = self._deadlines.within(call)
        self._steps.add(step)
        try:
            with step:
                return await anext(responses, None)
        finally:
            self._steps.discard(step)


def _handlers(servicers: Mapping[str, Any], methods: Iterable[Method]) -> dict[str, Callable[..., Any]]:
    unknown = [service for service in servicers if service not in services()]
    if unknown:
        raise ContractError(f"services without a contract: {', '.join(unknown)}")
    found = {method.full_name: getattr(servicers[method.service], method.handler, None) for method in methods}
    gaps = [name[1:] for name, handler in found.items() if not callable(handler)]
    if gaps:
        raise ContractError(f"methods without a handler: {', '.join(gaps)}")
    return cast(dict[str, Callable[..., Any]], found)


def _leave(leaves: list[Leave], error: BaseException | None) -> BaseException | None:
    """Ends the elements that let the call in, innermost first. Returns what goes wrong in the end."""
    for leave in reversed(leaves):
        error = leave(error)
    return error


def _stopping() -> TreadleError:
    return UnavailableError("This process is stopping. Connect again.", reason="STOPPING", retry_after_s=0.1)
