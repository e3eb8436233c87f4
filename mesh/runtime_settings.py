"""Settings that change while everything runs: keys of one bucket on NATS that processes follow.

Whoever reads a key decides whether its value makes sense: the bucket takes anything, also from `nats kv put`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress

import nats.errors
import nats.js.errors
from nats.js.api import KeyValueConfig, StorageType
from nats.js.kv import KeyValue

from mesh.bus import Bus
from mesh.errors import EtagMismatchError, UnavailableError
from mesh.logs import get_logger

BUCKET = "treadle-settings"
HISTORY = 8
# How often it is looked whether the connection was lost meanwhile, and how old a watch may get: the news of a server that was restarted
# do not come to watches that were open before.
_CHECK_S = 1.0
_REOPEN_S = 60.0
_RETRY_S = 1.0

_log = get_logger("mesh.settings")

# What is there now, by key without the prefix.
Snapshot = Mapping[str, bytes]


class RuntimeSettings:
    """The keys that begin with `prefix`, which ends with a dot."""

    def __init__(self, connect: Callable[[], Awaitable[Bus]], prefix: str) -> None:
        """`connect` gives the bus; it may wait for it."""
        self._connect = connect
        self._prefix = prefix

    async def get(self, key: str) -> tuple[bytes, int]:
        """The value of a key and its revision; empty and 0 when it is not there. Raises UnavailableError while the bus is away."""
        with _reachable():
            try:
                entry = await (await self._bucket()).get(self._prefix + key)
            except nats.js.errors.KeyDeletedError as error:
                return b"", error.entry.revision or 0
            except nats.js.errors.KeyNotFoundError:
                return b"", 0
        return entry.value or b"", entry.revision or 0

    async def put(self, key: str, value: bytes, revision: int | None = None) -> None:
        """Sets a key; with a revision only as long as that is its last one.

        Raises EtagMismatchError when it is not, UnavailableError while the bus is away.
        """
        with _reachable():
            bucket = await self._bucket()
            if revision is None:
                await bucket.put(self._prefix + key, value)
                return
            try:
                await bucket.update(self._prefix + key, value, last=revision)
            except nats.js.errors.KeyWrongLastSequenceError:
                raise EtagMismatchError("The setting has changed since it was read.", metadata={"key": self._prefix + key}) from None

    async def delete(self, key: str) -> None:
        """Removes a key, also one that is not there. Raises UnavailableError while the bus is away."""
        with _reachable():
            await (await self._bucket()).delete(self._prefix + key)

    async def follow(self, apply: Callable[[Snapshot], None]) -> None:
        """Calls `apply` with all there is, at first and after each change, until cancelled. While the bus is away nothing changes."""
        while True:
            try:
                await self._watch(apply)
            except (nats.errors.Error, UnavailableError, OSError, TimeoutError) as error:
                _log.warning("settings_not_followed", prefix=self._prefix, fault=type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    @asynccontextmanager
    async def following(self, apply: Callable[[Snapshot], None]) -> AsyncIterator[None]:
        """`follow` in the background while the context lasts."""
        task = asyncio.create_task(self.follow(apply), name="runtime-settings")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, apply: Callable[[Snapshot], None]) -> None:
        bus = await self._connect()
        reconnects = bus.nc.stats["reconnects"]
        watcher = await (await self._bucket()).watch(f"{self._prefix}>")
        found: dict[str, bytes] = {}
        is_whole = False
        entry: asyncio.Task[KeyValue.Entry | None] = asyncio.create_task(anext(watcher))
        ends_at = asyncio.get_running_loop().time() + _REOPEN_S
        try:
            while bus.nc.stats["reconnects"] == reconnects and asyncio.get_running_loop().time() < ends_at:
                if not (await asyncio.wait({entry}, timeout=_CHECK_S))[0]:
                    continue
                is_whole |= _take(entry.result(), found, self._prefix)
                entry = asyncio.create_task(anext(watcher))
                if is_whole:
                    apply(found)
        finally:
            entry.cancel()
            with suppress(nats.errors.Error):
                await watcher.stop()  # type: ignore[no-untyped-call]  # the library's

    async def _bucket(self) -> KeyValue:
        bus = await self._connect()
        if not bus.is_connected:
            raise _away()
        try:
            return await bus.js.key_value(BUCKET)
        except nats.js.errors.BucketNotFoundError:
            config = KeyValueConfig(bucket=BUCKET, history=HISTORY, storage=StorageType.FILE, description="Settings that change at runtime")
            return await bus.js.create_key_value(config)


def _take(entry: KeyValue.Entry | None, found: dict[str, bytes], prefix: str) -> bool:
    """Puts news in their place. True for the mark that what was there at the beginning has all come."""
    if entry is None:
        return True
    key = entry.key.removeprefix(prefix)
    if entry.operation in {"DEL", "PURGE"} or entry.value is None:
        found.pop(key, None)
    else:
        found[key] = entry.value
    return False


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise _away() from error


def _away() -> UnavailableError:
    return UnavailableError("The settings are away for now. Try again shortly.", reason="SETTINGS_UNAVAILABLE")
