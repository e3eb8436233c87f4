"""A process of the mesh: builds the services it is told to serve, opens both doors, and drains when it is told to stop."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points

from nats.aio.client import Client
from starlette.types import ASGIApp

from mesh.audit import Records, recording
from mesh.chain.element import Link
from mesh.chain.order import standard_chain
from mesh.clients import Clients
from mesh.contract import ContractError
from mesh.dispatch import Dispatcher
from mesh.grpc_door import GrpcDoor
from mesh.health import Health, Watched
from mesh.http.door import http_door
from mesh.http_server import HttpServer, beside, bind
from mesh.identity.bearer import Bearers
from mesh.identity.revocations import listening
from mesh.identity.service_token import ServiceTokens
from mesh.logs import configure, get_logger
from mesh.metrics import Metrics
from mesh.personal_data import SERVICE as PERSONAL_DATA
from mesh.personal_data import PersonalData, PersonalDataServicer, erasing
from mesh.resources import Resources
from mesh.service import Running, Service
from mesh.settings import Settings
from mesh.telemetry import Tracing, loop_lag, make_tracing
from mesh.validation import violations
from mesh.watchdog import watching

GROUP = "treadle.services"
# How long the end of traces may take; an absent collector must not hold the process.
TRACE_FLUSH_S = 3.0

# New objects, less those freed, between two looks of the collector; by default 700, which costs a busy process a tenth of its time.
GC_ALLOCATIONS = 20_000


_log = get_logger("mesh.host")


@dataclass(frozen=True, slots=True)
class Host:
    """A process that serves. The addresses carry the ports that were chosen."""

    grpc_address: str
    http_address: str
    dispatcher: Dispatcher
    health: Health
    metrics: Metrics
    resources: Resources


async def serve(names: Sequence[str], settings: Settings) -> None:
    """Serves the named services until SIGTERM or SIGINT, then drains. Raises LookupError for a name that nobody registered."""
    services = find_services(names)
    configure(settings, "+".join(service.name for service in services))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with watching(settings.watchdog_s):
        await _serve(services, settings, stop)
    _log.info("stopped")


async def _serve(services: Sequence[Service], settings: Settings, stop: asyncio.Event) -> None:
    async with hosted(services, settings) as host:
        _log.info(
            "ready",
            services=[service.name for service in services],
            grpc_address=host.grpc_address,
            http_address=host.http_address,
            pid=os.getpid(),
        )
        _settle_memory()
        await stop.wait()
        _log.info("stopping")


def _settle_memory() -> None:
    """What is loaded by now stays: the collector need not look at it again. It runs less often, as calls leave little that needs it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 20)


def find_services(names: Sequence[str]) -> list[Service]:
    """The services registered under the names, each once. Raises LookupError."""
    known = {point.name: point for point in entry_points(group=GROUP)}
    wanted = list(dict.fromkeys(names))
    missing = [name for name in wanted if name not in known]
    if missing or not wanted:
        raise LookupError(f"no such service: {', '.join(missing)}; known: {', '.join(sorted(known))}")
    return [known[name].load() for name in wanted]


@asynccontextmanager
async def hosted(services: Sequence[Service], settings: Settings) -> AsyncIterator[Host]:
    """Serves while the context lasts. Leaving it drains: NOT_SERVING, calls in flight, consumers, connections, in this order."""
    names = [service.name for service in services]
    async with AsyncExitStack() as stack:
        tracing = make_tracing(settings, "+".join(names))
        stack.push_async_callback(_end_tracing, tracing)
        clients = Clients(settings, names[0], ServiceTokens.from_settings(settings))
        metrics = Metrics()
        resources = Resources(settings, names[0], clients, metrics, tracing)
        stack.push_async_callback(resources.close)
        health = Health({"postgres": resources.ping_database, "nats": resources.ping_bus, "cache": resources.ping_cache})
        grpc_door = GrpcDoor(settings, health.servicer)
        grpc_address = grpc_door.bind(settings.grpc_address)
        sock, http_address = bind(settings.http_address)
        stack.callback(sock.close)
        clients.set_default_target(grpc_address)
        records = await stack.enter_async_context(recording(resources.bus, metrics))
        running = [await stack.enter_async_context(service.build(resources.for_workload(service.name))) for service in services]
        held = personal_data(services, running)
        servicers = {full_name: servicer for item in running for full_name, servicer in item.servicers.items()}
        if held:
            servicers[PERSONAL_DATA] = PersonalDataServicer(held)
        for name, data in held.items():
            await stack.enter_async_context(erasing(resources.for_workload(name), name, data))
        dispatcher = Dispatcher(
            servicers,
            _chain(settings, metrics, tracing, resources.bearers, records),
        )
        clients.serve_here(dispatcher)
        bearers = resources.bearers

        def revoke(id: str) -> None:
            bearers.revoke(id)
            dispatcher.end_streams_of(id)

        await stack.enter_async_context(listening(_bus_client(resources), revoke, bearers.missed_news))
        await stack.enter_async_context(resources.cache_news.hearing(_bus_client(resources)))
        for service, item in zip(services, running, strict=True):
            health.watch(Watched((service.name, *item.servicers), service.needs, item.is_healthy))
        grpc_door.add(dispatcher, [handler for item in running for handler in item.grpc_handlers])
        app = http_door(
            dispatcher,
            beside(metrics, _only_app(running)),
            max_body_bytes=settings.max_message_bytes,
            metrics=metrics,
            cookie_life_s=settings.refresh_token_ttl_s,
        )
        http_server = HttpServer(app, sock, settings.drain_s)
        await stack.enter_async_context(loop_lag(metrics))
        await stack.enter_async_context(health.running(dispatcher.set_serving))
        await grpc_door.start()
        stack.push_async_callback(_drain, settings, health, dispatcher, grpc_door, http_server)
        await http_server.start()
        yield Host(grpc_address, http_address, dispatcher, health, metrics, resources)


async def _drain(settings: Settings, health: Health, dispatcher: Dispatcher, grpc_door: GrpcDoor, http_server: HttpServer) -> None:
    """Tells everyone to go elsewhere, then lets calls in flight end. Streams are told at once: they can resume."""
    await health.stop_serving()
    await asyncio.sleep(settings.drain_notice_s)
    dispatcher.end_streams()
    await asyncio.gather(grpc_door.stop(settings.drain_s), http_server.stop())


def _chain(settings: Settings, metrics: Metrics, tracing: Tracing, bearers: Bearers, records: Records) -> list[Link]:
    return standard_chain(
        settings,
        metrics=metrics,
        tracing=tracing,
        users=bearers,
        services=ServiceTokens.from_settings(settings),
        records=records,
        violations=violations,
    )


def _bus_client(resources: Resources) -> Callable[[], Awaitable[Client]]:
    async def connect() -> Client:
        return (await resources.bus()).nc

    return connect


def personal_data(services: Sequence[Service], running: Sequence[Running]) -> dict[str, PersonalData]:
    """What the services of a process hold of people, by service. Raises ContractError when one keeps tables and says nothing."""
    silent = [service.name for service, item in zip(services, running, strict=True) if service.migrations and item.personal_data is None]
    if silent:
        raise ContractError(f"services with tables that do not say what they hold of people: {', '.join(silent)}")
    return {service.name: item.personal_data for service, item in zip(services, running, strict=True) if item.personal_data is not None}


def _only_app(running: Sequence[Running]) -> ASGIApp | None:
    apps = [item.asgi for item in running if item.asgi is not None]
    if len(apps) > 1:
        raise ValueError("at most one service of a process may bring an app of its own")
    return apps[0] if apps else None


async def _end_tracing(tracing: Tracing) -> None:
    # In a thread and under our own clock: the exporter blocks while its collector is away.
    try:
        async with asyncio.timeout(TRACE_FLUSH_S):
            await asyncio.to_thread(tracing.shutdown)
    except TimeoutError:
        _log.warning("traces_lost")
