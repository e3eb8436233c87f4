"""Runs a workload through the public API, over HTTP and JSON, and measures it."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from mesh.cli.http_lane import Answer, HttpLane, LaneBrokenError, open_lane
from mesh.cli.workloads import Workload

_ATTEMPTS = 60
_PAUSE_S = 0.5
_PAGE = 1000
_OK = 200
_PASSING = frozenset({429, 502, 503, 504})
_COMPLETED = b'"EVENT_KIND_EXECUTION_COMPLETED"'
# How a stream says that it broke off.
_STREAM_ERROR = b'{"error":'


class CallError(Exception):
    """The stack refused a call; the message is its answer."""


@dataclass(frozen=True, slots=True)
class Job:
    """Whose graph is to be run."""

    token: str
    graph_id: str


@dataclass(slots=True)
class Measured:
    """What came of a load. Latencies are seconds from sending POST /v1/executions to having the end of the run's event stream.

    `posted` holds the wall-clock time in seconds of each POST, by execution id.
    """

    latencies_s: list[float] = field(default_factory=list)
    posted: dict[str, float] = field(default_factory=dict)
    failed: int = 0
    wall_s: float = 0.0


class Client:
    """Starts executions and waits for their ends, over one connection. A broken connection is made anew and the call repeated."""

    def __init__(self, target: str, job: Job) -> None:
        """`target` is the edge."""
        self._target = target
        self._job = job
        self._lane: HttpLane | None = None
        tail = f" HTTP/1.1\r\nhost: {target}\r\nauthorization: Bearer {job.token}\r\n".encode()
        self._post = b"POST /v1/executions" + tail + b"content-type: application/json\r\ncontent-length: "
        self._tail = tail + b"\r\n"

    def close(self) -> None:
        """Ends the connection."""
        if self._lane is not None:
            self._lane.close()

    async def create(self, request_id: str) -> str:
        """Starts a run and returns its id. With a `request_id` a repeat starts no second one."""
        body = f'{{"graph_id":"{self._job.graph_id}","request_id":"{request_id}"}}'.encode()
        answer = await self._call(self._post + b"%d\r\n\r\n" % len(body), body)
        execution_id: str = orjson.loads(answer.body)["id"]
        return execution_id

    async def wait_end(self, execution_id: str, last_seq: int) -> bool:
        """Follows the run's events to the end. True when it completed.

        `last_seq` is the seq of the terminal event, so that the stream carries only that; 0 when not known.
        """
        path = f"/v1/executions/{execution_id}:watch?after_seq={max(0, last_seq - 1)}"
        answer = await self._call(b"GET " + path.encode() + self._tail)
        if not answer.body:
            # It ended before the seq that was expected.
            return bool((await self.get(execution_id))["status"] == "EXECUTION_STATUS_COMPLETED")
        return _COMPLETED in _last_line(answer.body)

    async def get(self, execution_id: str) -> dict[str, Any]:
        """The execution as it stands, as REST shows it."""
        answer = await self._call(b"GET /v1/executions/" + execution_id.encode() + self._tail)
        found: dict[str, Any] = orjson.loads(answer.body)
        return found

    async def cancel(self, execution_id: str) -> None:
        """Stops an execution."""
        tail = self._tail.removesuffix(b"\r\n") + b"content-type: application/json\r\ncontent-length: 2\r\n\r\n"
        await self._call(b"POST /v1/executions/" + execution_id.encode() + b":cancel" + tail, b"{}")

    async def events(self, execution_id: str) -> list[dict[str, Any]]:
        """All events so far, as REST shows them."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["seq"] if found else 0
            path = f"/v1/executions/{execution_id}/events?after_seq={after}&page_size={_PAGE}"
            page = orjson.loads((await self._call(b"GET " + path.encode() + self._tail)).body)
            found += page.get("events", ())
            if not page.get("next_page_token") or not page.get("events"):
                return found

    async def _call(self, head: bytes, body: bytes = b"") -> Answer:
        for _ in range(_ATTEMPTS):
            try:
                if self._lane is None:
                    self._lane = await open_lane(self._target)
                answer = await self._lane.request(head, body)
            except (LaneBrokenError, OSError):
                self._lane = None
            else:
                if answer.status == _OK and not _last_line(answer.body).startswith(_STREAM_ERROR):
                    return answer
                if answer.status != _OK and answer.status not in _PASSING:
                    raise CallError(answer.body.decode(errors="replace"))
            await asyncio.sleep(_PAUSE_S)
        raise CallError("the stack does not answer")


async def measure(target: str, jobs: Sequence[Job], runs: int, in_flight: int, last_seq: int) -> Measured:
    """Runs the jobs in turn, `runs` times in all, `in_flight` at a time."""
    import uuid

    measured = Measured()
    waiting = iter(range(runs))

    async def lane(client: Client) -> None:
        for _ in waiting:
            began, wall_began = time.perf_counter(), time.time()
            try:
                execution_id = await client.create(str(uuid.uuid4()))
                is_good = await client.wait_end(execution_id, last_seq)
            except CallError:
                measured.failed += 1
                continue
            measured.latencies_s.append(time.perf_counter() - began)
            measured.posted[execution_id] = wall_began
            measured.failed += not is_good

    clients = [Client(target, jobs[number % len(jobs)]) for number in range(min(in_flight, runs))]
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(lane(client))
    measured.wall_s = time.perf_counter() - began
    for client in clients:
        client.close()
    return measured


def report(workload: Workload, runs: int, measured: Measured, cpu_s: dict[str, float], memory_mb: dict[str, float]) -> dict[str, Any]:
    """The document that `treadle bench` prints. `cpu_s` and `memory_mb` are those of the stack, by component."""
    done = len(measured.latencies_s)
    steps = done * workload.firings
    per_1000 = 1000 / steps if steps else 0.0
    return {
        "workload": workload.name,
        "runs": runs,
        "failed": measured.failed,
        "wall_s": round(measured.wall_s, 3),
        "runs_per_s": round(done / measured.wall_s, 2) if measured.wall_s else 0.0,
        "node_steps_per_s": round(steps / measured.wall_s, 1) if measured.wall_s else 0.0,
        "latency_ms": percentiles_ms(measured.latencies_s),
        "cpu_s_per_1000_steps": round(sum(cpu_s.values()) * per_1000, 3),
        "cpu_s_per_1000_steps_by_process": {name: round(used * per_1000, 4) for name, used in cpu_s.items()},
        "rss_mb": round(sum(memory_mb.values()), 1),
        "rss_mb_by_process": memory_mb,
    }


def percentiles_ms(values_s: Sequence[float]) -> dict[str, float]:
    """`{"p50", "p95", "p99"}` in milliseconds; zeros when there is nothing."""
    if not values_s:
        return {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    cuts = statistics.quantiles(values_s, n=100, method="inclusive") if len(values_s) > 1 else [values_s[0]] * 99
    return {f"p{share}": round(cuts[share - 1] * 1000, 2) for share in (50, 95, 99)}


def _last_line(body: bytes) -> bytes:
    return body[body.rfind(b"\n", 0, -1) + 1 :]
