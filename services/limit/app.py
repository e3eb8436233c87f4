"""Assembly of the limit service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.resources import Resources
from mesh.runtime_settings import RuntimeSettings
from mesh.service import Running, Service
from services.limit.book import PREFIX, Book
from services.limit.gcra import Counter
from services.limit.rate_limit_service import RateLimitService
from services.limit.servicer import LimitServicer


@asynccontextmanager
async def build(resources: Resources) -> AsyncIterator[Running]:
    """Serves LimitService, and Envoy's RateLimitService. Neither the bus nor the cache need be there."""
    book, settings = Book(), RuntimeSettings(resources.bus, PREFIX)
    edge = RateLimitService(book, Counter(resources.cache), resources.metrics)
    async with settings.following(book.apply):
        yield Running(servicers={"treadle.limit.v1.LimitService": LimitServicer(book, settings)}, grpc_handlers=[edge.handler()])


SERVICE = Service("limit", build)
