"""What a service gets from its process: opened when first asked for, closed by the host after the service is down."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from copy import copy

import redis.asyncio as redis
from opentelemetry.trace import Tracer
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from mesh.bus import Bus, open_bus
from mesh.cache.news import CacheNews
from mesh.clients import Clients
from mesh.database import Database, Probe, open_database
from mesh.identity.bearer import Bearers
from mesh.metrics import Metrics
from mesh.settings import Settings
from mesh.telemetry import Tracing

CACHE_TIMEOUT_S = 1.0


class Resources:
    """Databases, bus, cache, clients, metrics and spans of a process. Several services of one process share it."""

    def __init__(
        self, settings: Settings, workload: str, clients: Clients, metrics: Metrics | None = None, tracing: Tracing | None = None
    ) -> None:
        """`workload` is the name by which other services know this one. Without `tracing` no span is recorded."""
        self.settings = settings
        self.workload = workload
        self.clients = clients
        # Series of the process, shown on its `/metrics`; how to make some: `mesh.metrics`.
        self.metrics = metrics if metrics is not None else Metrics()
        # For spans of the service's own; how to make some: `mesh.telemetry`.
        self.tracer: Tracer = (tracing or Tracing(0.0, None)).tracer
        # Whose a bearer token is: access token or API key.
        self.bearers = Bearers(settings.issuer, lambda: clients)
        # What the caches of this process hear from others; see `mesh.cache.cache`.
        self.cache_news = CacheNews()
        self._shared = _Shared(settings)

    def for_workload(self, workload: str) -> "Resources":
        """The same resources under another name, for another service of the process."""
        other = copy(self)
        other.workload, other.clients = workload, self.clients.for_workload(workload)
        return other

    async def database(self, schema: str) -> Database:
        """The database as the owner of `schema`. Opened once per process; needs no server until it is used."""
        return await self._shared.database(schema)

    async def bus(self) -> Bus:
        """The bus. The first call waits until the server is there."""
        return await self._shared.bus(self.settings.instance or self.workload)

    @property
    def cache(self) -> "redis.Redis":
        """Valkey or Redis, answers decoded. Holds only what may be lost; raises within a second when it is away."""
        return self._shared.cache()

    @property
    def cache_bytes(self) -> "redis.Redis":
        """The same, answers as bytes."""
        return self._shared.cache(decode=False)

    def on_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Has `close` called when the process ends, before what was opened earlier is closed."""
        self._shared.stack.push_async_callback(close)

    async def close(self) -> None:
        """Closes everything that was opened, newest first."""
        await self._shared.stack.aclose()
        await self.clients.close()

    async def ping_database(self) -> None:
        """Raises when PostgreSQL is away."""
        await self._shared.probe.ask()

    async def ping_bus(self) -> None:
        """Raises ConnectionError when NATS is away."""
        bus = self._shared.opened_bus
        if bus is not None and not bus.is_connected:
            raise ConnectionError("the bus is away")

    async def ping_cache(self) -> None:
        """Raises when the cache is away."""
        await self.cache.ping()


class _Shared:
    """The one set of connections behind all `Resources` of a process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stack = AsyncExitStack()
        self.probe = Probe(settings.database_url.get_secret_value())
        self.stack.callback(self.probe.close)
        self.databases: dict[str, Database] = {}
        self.opened_bus: Bus | None = None
        self._caches: dict[bool, redis.Redis] = {}
        # One each: a bus that is away must keep nobody from the database.
        self._opening_database, self._opening_bus = asyncio.Lock(), asyncio.Lock()

    async def database(self, schema: str) -> Database:
        async with self._opening_database:
            if schema not in self.databases:
                self.databases[schema] = await open_database(self.settings, schema)
                self.stack.push_async_callback(self.databases[schema].close)
            return self.databases[schema]

    async def bus(self, name: str) -> Bus:
        async with self._opening_bus:
            if self.opened_bus is None:
                self.opened_bus = await open_bus(self.settings.nats_url, name)
                self.stack.push_async_callback(self.opened_bus.close)
            return self.opened_bus

    def cache(self, *, decode: bool = True) -> redis.Redis:
        if decode not in self._caches:
            self._caches[decode] = redis.Redis.from_url(
                self.settings.cache_url.get_secret_value(),
                decode_responses=decode,
                socket_timeout=CACHE_TIMEOUT_S,
                socket_connect_timeout=CACHE_TIMEOUT_S,
                # One try on a fresh connection after a server restart; callers do without the cache beyond that.
                retry=Retry(NoBackoff(), 1),
            )
            self.stack.push_async_callback(self._caches[decode].aclose)
        return self._caches[decode]
