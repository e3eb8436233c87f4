"""`envoy.service.ratelimit.v3.RateLimitService`: the service that the edge asks about requests."""

import asyncio
import time
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError
from treadle.limit.envoy.v3 import rate_limit_pb2 as pb

from mesh.logs import get_logger
from mesh.metrics import Metrics
from services.limit.book import Book
from services.limit.envoy import read_question, write_answer
from services.limit.gcra import Counter

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
METHOD = "ShouldRateLimit"
# The edge waits little longer; it counts by itself meanwhile.
TIMEOUT_S = 0.08
# An outage is logged this often, not with each call.
_LOG_EVERY_S = 10.0

_log = get_logger("limit")

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class RateLimitService:
    """Answers Envoy. While the cache is away it fails at once, which lets Envoy go on by itself."""

    def __init__(self, book: Book, counter: Counter, metrics: Metrics) -> None:
        self._book = book
        self._counter = counter
        self._verdicts = metrics.counter("treadle_limit_verdicts_total", "Answers to the edge.", ("class", "verdict"))
        self._lent = metrics.counter("treadle_limit_lent_total", "Calls that the edge may count by itself.")
        self._logged_at = float("-inf")

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """For the gRPC door."""
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(self._serve)})

    async def answer(self, request: pb.RateLimitRequest) -> pb.RateLimitResponse:
        """Counts a request. Raises RedisError, OSError or TimeoutError while the cache is away."""
        question = read_question(request, self._book)
        if not question.counted:
            return write_answer(question, None)
        async with asyncio.timeout(TIMEOUT_S):
            verdict = await self._counter.take(question.counted, question.calls, question.wanted)
        self._verdicts.labels(question.rate_class, "refused" if verdict.wait_s else "granted").inc()
        self._lent.inc(verdict.lent)
        return write_answer(question, verdict)

    async def _serve(self, data: bytes, context: Context) -> bytes:
        try:
            return (await self.answer(pb.RateLimitRequest.FromString(data))).SerializeToString()
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The message does not parse.")
        except (RedisError, OSError, TimeoutError) as error:
            self._verdicts.labels("", "failed").inc()
            if time.monotonic() - self._logged_at > _LOG_EVERY_S:
                self._logged_at = time.monotonic()
                _log.warning("limits_are_local", fault=type(error).__name__)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The counts are away.")
        raise AssertionError("abort raises")
