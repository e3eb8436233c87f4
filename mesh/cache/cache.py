"""One cache of a service: what was read before is not read again, and many who ask at the same time read once.

heads = Cache(resources, "graph.heads", Codec(msgspec.msgpack.encode, decode_head), ttl_s=10)
head = await heads.get(graph_id, f"{owner_id}/{version}", lambda: repository.head(owner_id, graph_id, version))
...
await heads.drop(graph_id)  # after the commit
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import LRUCache

from mesh.cache.shared import SharedLayer
from mesh.logs import get_logger
from mesh.resources import Resources

V = TypeVar("V")

LOCAL_BYTES = 16 * 1024 * 1024
# What a value takes beside its bytes.
_OVERHEAD_BYTES = 500

_log = get_logger("mesh.cache")


@dataclass(frozen=True, slots=True)
class Codec(Generic[V]):
    """How values become bytes for the shared layer, and back."""

    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]


@dataclass(frozen=True, slots=True)
class _Held(Generic[V]):
    value: V
    bytes: int
    ends_at: float


@dataclass(frozen=True, slots=True)
class _Group(Generic[V]):
    """What is held of a group."""

    parts: Mapping[str, _Held[V]]
    bytes: int


class _Load(Generic[V]):
    """A read at the source that is under way. Void when its group was dropped meanwhile."""

    task: "asyncio.Task[V]"
    is_void = False


class Cache(Generic[V]):
    """Values by group and part; a group is what ends together.

    A value is right, but for two things: a reader elsewhere may see the old one for the moment that the news take, and when the process
    that changed it dies between its commit and `drop`, for twice `ttl_s`. While the bus is away nothing that is held in the process is
    used, since no news can come. Without Valkey or the bus everything is read anew.
    """

    def __init__(
        self, resources: Resources, name: str, codec: Codec[V], *, ttl_s: float, local_bytes: int = LOCAL_BYTES, lasts: bool = False
    ) -> None:
        """`name` is the same in all processes. `lasts`: values never change, so they are used without news too; `drop` forgets them."""
        self._name = name
        self._codec = codec
        self._ttl_s = ttl_s
        self._lasts = lasts
        self._news = resources.cache_news
        self._epoch: int | None = None
        self._held: LRUCache[str, _Group[V]] = LRUCache(local_bytes, getsizeof=_bytes_of)
        self._loads: dict[tuple[str, str], _Load[V]] = {}
        self._shared = SharedLayer(resources.cache_bytes, name, ttl_s)
        resources.on_close(self._shared.close)
        self._news.listen(name, self._forget)
        lookups = resources.metrics.counter("treadle_cache_lookups_total", "Where values came from.", ("cache", "layer"))
        self._local_hits, self._shared_hits, self._misses = (lookups.labels(name, layer) for layer in ("process", "shared", "source"))
        size = resources.metrics.gauge("treadle_cache_bytes", "Bytes held in the process.", ("cache",))
        size.labels(name).set_function(lambda: float(self._held.currsize))

    async def get(self, group: str, part: str, read: Callable[[], Awaitable[V]]) -> V:
        """The value, from wherever it is at hand; `read` gets it at its source, once for all who ask. Raises what `read` raises."""
        key = group, part
        if self._is_trusted():
            known = self._held.get(group)
            held = known.parts.get(part) if known is not None else None
            if held is not None and held.ends_at > time.monotonic():
                self._local_hits.inc()
                return held.value
        load = self._loads.get(key)
        if load is None:
            load = self._loads[key] = _Load()
            load.task = asyncio.create_task(self._load(load, key, read), name=f"cache-{self._name}")
            load.task.add_done_callback(lambda task: self._loaded(key, task))
        # One caller's end is no reason to leave the others without an answer.
        return await asyncio.shield(load.task)

    async def drop(self, group: str) -> None:
        """Forgets a group everywhere. To be called after the commit that changed it; goes on to its end when the caller is cancelled."""
        await asyncio.shield(asyncio.create_task(self._drop(group), name=f"cache-drop-{self._name}"))

    async def _drop(self, group: str) -> None:
        self._forget(group)
        await self._shared.drop(group)
        # Who began to read meanwhile may have read what the shared layer still held.
        self._forget(group)
        await self._news.tell(self._name, group)

    async def _load(self, load: _Load[V], key: tuple[str, str], read: Callable[[], Awaitable[V]]) -> V:
        epoch = self._news.epoch
        value, size = await self._from_shared(key)
        if value is None:
            self._misses.inc()
            value = await read()
            text = self._codec.encode(value)
            size = len(text)
            if not load.is_void:
                await self._shared.put(*key, text)
        if not load.is_void and self._is_trusted() and (self._lasts or epoch == self._epoch):
            self._hold(key, _Held(value, size + _OVERHEAD_BYTES, time.monotonic() + self._ttl_s))
        return value

    async def _from_shared(self, key: tuple[str, str]) -> tuple[V | None, int]:
        text = await self._shared.get(*key)
        if text is None:
            return None, 0
        try:
            value = self._codec.decode(text)
        except Exception as error:
            _log.warning("cached_value_unreadable", cache=self._name, fault=type(error).__name__)
            return None, 0
        self._shared_hits.inc()
        return value, len(text)

    def _is_trusted(self) -> bool:
        """Whether what is held may be used; empties it when news were missed."""
        if self._lasts:
            return True
        epoch = self._news.epoch
        if epoch != self._epoch:
            self._held.clear()
            self._epoch = epoch
        return epoch is not None

    def _hold(self, key: tuple[str, str], held: _Held[V]) -> None:
        group, part = key
        known = self._held.get(group)
        parts = {**known.parts, part: held} if known is not None else {part: held}
        made = _Group(parts, sum(item.bytes for item in parts.values()))
        if made.bytes <= self._held.maxsize:
            self._held[group] = made

    def _forget(self, group: str) -> None:
        self._held.pop(group, None)
        for key in [key for key in self._loads if key[0] == group]:
            # Whoever asks from now on must not get what was read before.
            self._loads.pop(key).is_void = True

    def _loaded(self, key: tuple[str, str], task: "asyncio.Task[V]") -> None:
        load = self._loads.get(key)
        if load is not None and load.task is task:
            del self._loads[key]
        if not task.cancelled():
            # Seen here, so that nobody complains when all who waited have left.
            task.exception()


def _bytes_of(group: _Group[V]) -> int:
    return group.bytes
