"""What keeps nested requests from asking once per row: calls of one moment are collected, the same one is made once, and where a service
takes many requests in one call they go together.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from strawberry.dataloader import DataLoader

from gateway.graphql.calls import Calls
from gateway.graphql.model import batch_of
from mesh.contract import Method
from mesh.errors import NotFoundError, ResourceExhaustedError

# Requests in one call; services take no more.
MAX_BATCH = 100
# Single calls at work at the same time for one operation, where a service has no call for many.
MAX_AT_ONCE = 8

# A request in a form that is equal for equal requests.
_Key = bytes
Answer = Message | BaseException


class Loaders:
    """The loaders of one operation; what was loaded once is kept for its time."""

    def __init__(self, calls: Calls, known: Mapping[str, Method]) -> None:
        """`known` are all methods of the mesh by full name."""
        self._calls = calls
        self._known = known
        self._loaders: dict[str, DataLoader[_Key, Any]] = {}
        self._shown: dict[tuple[int, int], Any] = {}
        self._room = asyncio.Semaphore(MAX_AT_ONCE)

    async def load(self, method: Method, request: Message) -> Any:
        """The response message. Raises TreadleError."""
        loader = self._loaders.get(method.full_name)
        if loader is None:
            loader = self._loaders[method.full_name] = DataLoader(self._loading(method), max_batch_size=MAX_BATCH)
        return await loader.load(request.SerializeToString(deterministic=True))

    def show(self, response: Message, show: Callable[[Any], Any]) -> Any:
        """What `show` makes of a response that was loaded, however many fields want it."""
        # Responses live as long as their loaders, so no other has such an id meanwhile.
        key = (id(response), id(show))
        if key not in self._shown:
            self._shown[key] = show(response)
        return self._shown[key]

    async def make(self, method: Method, request: Message) -> Any:
        """Makes a call that changes something: never shared, and what was loaded before it is forgotten."""
        try:
            return await self._calls.make(method, request)
        finally:
            self._loaders.clear()
            self._shown.clear()

    def _loading(self, method: Method) -> Any:
        batch = batch_of(method, self._known)

        async def load_each(keys: list[_Key]) -> Sequence[Answer]:
            return await asyncio.gather(*(self._one(method, key) for key in keys), return_exceptions=True)

        async def load_together(keys: list[_Key]) -> Sequence[Answer]:
            if batch is None or len(keys) == 1:
                return await load_each(keys)
            return await self._together(method, batch, keys)

        return load_together

    async def _one(self, method: Method, key: _Key) -> Message:
        async with self._room:
            response: Message = await self._calls.make(method, method.request_type.FromString(key))
        return response

    async def _together(self, method: Method, batch: Method, keys: Sequence[_Key]) -> Sequence[Answer]:
        """Answers that do not fit into one message together are asked for in halves."""
        if len(keys) == 1:
            return [await self._one(method, keys[0])]
        try:
            requests = [method.request_type.FromString(key) for key in keys]
            answers = (await self._calls.make(batch, batch.request_type(requests=requests))).answers
        except ResourceExhaustedError as error:
            # Anything else is no matter of size: asking more often would make it worse.
            if error.reason != ResourceExhaustedError.default_reason:
                raise
            half = len(keys) // 2
            return [*await self._together(method, batch, keys[:half]), *await self._together(method, batch, keys[half:])]
        return [answer.response if answer.HasField("response") else NotFoundError("There is no such resource.") for answer in answers]
