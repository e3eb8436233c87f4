"""Runs a workload through the public API and measures it."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import grpc
import psutil
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub

from mesh.cli.session import CHANNEL_OPTIONS, Metadata
from mesh.cli.workloads import Workload
from mesh.local.state import StackState, find_process

if TYPE_CHECKING:
    from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub

_T = TypeVar("_T")

_RUN_TIMEOUT_S = 120.0
_ATTEMPTS = 60
_PAUSE_S = 0.5
_BYTES_PER_MB = 1024 * 1024
# Each channel has one connection; a client of many runs would have several too.
_CHANNELS = 4
_OPTIONS = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


@dataclass(slots=True)
class Measured:
    """What came of a load. Latencies are seconds from the call of CreateExecution to its terminal event."""

    latencies_s: list[float] = field(default_factory=list)
    execution_ids: list[str] = field(default_factory=list)
    failed: int = 0
    wall_s: float = 0.0


class Client:
    """Starts executions and waits for their ends, over a few connections. A context manager."""

    def __init__(self, target: str, metadata: Metadata) -> None:
        """`target` is the edge."""
        self._channels = [grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in range(_CHANNELS)]
        self._stubs: list[ExecutionServiceAsyncStub] = [ExecutionServiceStub(channel) for channel in self._channels]
        self._metadata = metadata
        self._next = 0

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close(None)

    async def run(self, graph_id: str, request_id: str, last_seq: int) -> tuple[str, bool]:
        """Runs the graph once. Returns the execution's id and whether it completed. A broken connection is tried again.

        `last_seq` is the seq of the terminal event, so that the stream carries only that; 0 when not known.
        """
        stub = self._stubs[self._next % _CHANNELS]
        self._next += 1
        created = await _patiently(
            lambda: stub.CreateExecution(
                pb.CreateExecutionRequest(graph_id=graph_id, request_id=request_id), metadata=self._metadata, timeout=_RUN_TIMEOUT_S
            )
        )
        execution_id = created.execution.id
        status = await _patiently(lambda: self._wait_end(stub, execution_id, last_seq))
        return execution_id, status == pb.EXECUTION_STATUS_COMPLETED

    async def get(self, execution_id: str) -> pb.Execution:
        """The execution as it stands."""
        stub = self._stubs[0]
        request = pb.GetExecutionRequest(execution_id=execution_id)
        answer = await _patiently(lambda: stub.GetExecution(request, metadata=self._metadata, timeout=_RUN_TIMEOUT_S))
        return answer.execution

    async def events(self, execution_id: str) -> list[pb.Event]:
        """All events so far."""
        found: list[pb.Event] = []
        while True:
            after = found[-1].seq if found else 0
            request = pb.ListExecutionEventsRequest(execution_id=execution_id, after_seq=after, page_size=1000)
            answer = await self._stubs[0].ListExecutionEvents(request, metadata=self._metadata, timeout=_RUN_TIMEOUT_S)
            found += answer.events
            if not answer.next_page_token or not answer.events:
                return found

    async def _wait_end(self, stub: "ExecutionServiceAsyncStub", execution_id: str, last_seq: int) -> int:
        request = pb.WatchExecutionRequest(execution_id=execution_id, after_seq=max(0, last_seq - 1))
        status = 0
        async for answer in stub.WatchExecution(request, metadata=self._metadata, timeout=_RUN_TIMEOUT_S):
            status = answer.event.status
        if not status:
            # It ended before the seq that was expected.
            status = (await self.get(execution_id)).status
        return status


async def measure(client: Client, graph_id: str, runs: int, in_flight: int, last_seq: int) -> Measured:
    """Runs the graph `runs` times, `in_flight` at a time."""
    import uuid

    measured = Measured()
    waiting = iter(range(runs))

    async def lane() -> None:
        for _ in waiting:
            began = time.perf_counter()
            try:
                execution_id, is_good = await client.run(graph_id, str(uuid.uuid4()), last_seq)
            except grpc.RpcError:
                measured.failed += 1
                continue
            measured.latencies_s.append(time.perf_counter() - began)
            measured.execution_ids.append(execution_id)
            measured.failed += not is_good

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(in_flight, runs)):
            group.create_task(lane())
    measured.wall_s = time.perf_counter() - began
    return measured


def report(workload: Workload, runs: int, measured: Measured, cpu_s: float, rss_mb: float) -> dict[str, object]:
    """The document that `treadle bench` prints."""
    done = len(measured.latencies_s)
    steps = done * workload.firings
    return {
        "workload": workload.name,
        "runs": runs,
        "failed": measured.failed,
        "wall_s": round(measured.wall_s, 3),
        "runs_per_s": round(done / measured.wall_s, 2) if measured.wall_s else 0.0,
        "node_steps_per_s": round(steps / measured.wall_s, 1) if measured.wall_s else 0.0,
        "latency_ms": {name: _percentile(measured.latencies_s, share) for name, share in (("p50", 50), ("p95", 95), ("p99", 99))},
        "cpu_s_per_1000_steps": round(cpu_s / steps * 1000, 3) if steps else 0.0,
        "rss_mb": round(rss_mb, 1),
    }


def stack_cpu_s(state: StackState) -> float:
    """CPU seconds that the processes of the stack and their children have used."""
    total = 0.0
    for process in _stack_processes(state):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        # Sessions of PostgreSQL come and go; those that went are in the parent's account.
        total += times.user + times.system + times.children_user + times.children_system
    return total


def stack_rss_mb(state: StackState) -> float:
    """Resident memory of the stack. Memory that PostgreSQL's processes share is counted once where the system can tell."""
    total = 0.0
    for process in _stack_processes(state):
        try:
            total += getattr(process.memory_full_info(), "pss", process.memory_info().rss)
        except psutil.Error:
            continue
    return total / _BYTES_PER_MB


async def _patiently(call: Callable[[], Awaitable[_T]]) -> _T:
    for attempt in range(_ATTEMPTS):
        try:
            return await call()
        except grpc.RpcError as error:
            if error.code() not in _PASSING or attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(_PAUSE_S)
    raise AssertionError("unreachable")


def _stack_processes(state: StackState) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for item in state.processes:
        process = find_process(item.pid, item.created)
        if process is not None:
            found += [process, *process.children(recursive=True)]
    return found


def _percentile(values: list[float], share: int) -> float:
    if not values:
        return 0.0
    if len(values) == 1:
        return round(values[0] * 1000, 2)
    return round(statistics.quantiles(values, n=100, method="inclusive")[share - 1] * 1000, 2)
