"""Health that tells the truth: a service is SERVING while its own loops are well and what it needs answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

from mesh.logs import get_logger
from mesh.tasks import end

CHECK_EVERY_S = 1.0
CHECK_TIMEOUT_S = 2.0
# One missed answer is load; this many in a row are an outage.
FAILURES_ALLOWED = 1

_SERVING = HealthCheckResponse.SERVING
_NOT_SERVING = HealthCheckResponse.NOT_SERVING

_log = get_logger("mesh.health")

Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Watched:
    """A service under watch: the names it answers to in grpc.health.v1, what it needs, and its own word."""

    names: Sequence[str]
    needs: Sequence[str]
    is_healthy: Callable[[], bool]


class Health:
    """Runs the checks and keeps the health servicer and `is_serving` up to date. The name "" stands for the whole process."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        """`checks` by dependency; one raises when its dependency is away."""
        self.servicer = HealthServicer()
        self.is_serving = False
        self._tell: Callable[[bool], None] = lambda _: None
        self._checks = checks
        self._watched: list[Watched] = []
        self._failures: dict[str, int] = {}
        self._stopped = False

    def watch(self, watched: Watched) -> None:
        """Adds a service. Before the first check."""
        self._watched.append(watched)

    async def check(self) -> None:
        """Asks every needed dependency once, all at the same time, and sets what follows."""
        needed = sorted({need for watched in self._watched for need in watched.needs})
        await asyncio.gather(*(self._ask(name) for name in needed))
        all_well = True
        for watched in self._watched:
            is_well = watched.is_healthy() and not any(self._failures.get(need, 0) > FAILURES_ALLOWED for need in watched.needs)
            all_well = all_well and is_well
            for name in watched.names:
                await self.servicer.set(name, _SERVING if is_well else _NOT_SERVING)
        await self._set_process(all_well and not self._stopped)

    @asynccontextmanager
    async def running(self, tell: Callable[[bool], None]) -> AsyncIterator[None]:
        """Checks now, then until the context ends. `tell` is told after each check whether the process serves.

        Before the first check nothing is SERVING; what is away at the start counts as away at once.
        """
        self._tell = tell
        await self.servicer.set("", _NOT_SERVING)
        self._failures = dict.fromkeys(self._checks, FAILURES_ALLOWED)
        await self.check()
        task = asyncio.create_task(self._run(), name="health")
        try:
            yield
        finally:
            await end(task)

    async def stop_serving(self) -> None:
        """NOT_SERVING for good: the process drains."""
        self._stopped = True
        self.is_serving = False
        self._tell(False)
        await self.servicer.enter_graceful_shutdown()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await self.check()

    async def _ask(self, name: str) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self._checks[name]()
        except Exception as error:  # a check may fail in any way; all mean the same
            self._failures[name] = self._failures.get(name, 0) + 1
            if self._failures[name] == FAILURES_ALLOWED + 1:
                _log.warning("dependency_away", dependency=name, error=type(error).__name__)
        else:
            if self._failures.get(name, 0) > FAILURES_ALLOWED:
                _log.info("dependency_back", dependency=name)
            self._failures[name] = 0

    async def _set_process(self, is_serving: bool) -> None:
        if is_serving != self.is_serving:
            _log.info("serving" if is_serving else "not_serving")
        self.is_serving = is_serving
        self._tell(is_serving)
        await self.servicer.set("", _SERVING if is_serving else _NOT_SERVING)
