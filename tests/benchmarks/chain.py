"""What the chain costs: a unary echo through it against a bare grpc.aio handler, both servers up, measured in turns in one run.

`python -m tests.benchmarks.chain` prints JSON. `cpu_us` is processor time of the server per call: on a busy machine it says more than
calls per second do. `local` is microseconds per call without a network.
"""

import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import grpc
import grpc.aio
import psutil
import uvloop
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from treadle.user.v1.user_service_pb2 import GetMeRequest, GetMeResponse, UpdateMeRequest, UpdateMeResponse, User
from treadle.user.v1.user_service_pb2_grpc import UserServiceServicer, UserServiceStub, add_UserServiceServicer_to_server

from mesh.audit import AuditRecord
from mesh.call import Call
from mesh.chain.element import Link
from mesh.chain.order import standard_chain
from mesh.contract import methods
from mesh.dispatch import Dispatcher
from mesh.grpc_door import GrpcDoor
from mesh.health import Health
from mesh.identity.access_token import AccessClaims
from mesh.identity.service_token import ServiceTokens
from mesh.logs import configure
from mesh.metrics import Metrics
from mesh.settings import Settings
from mesh.telemetry import Tracing, make_tracing
from mesh.validation import violations

IN_FLIGHT = 50
ROUND_S = 2.0
ROUNDS = 5
LOCAL_CALLS = 20_000

_GET_ME = methods()["/treadle.user.v1.UserService/GetMe"]
_ANSWER = GetMeResponse(user=User(id="01932c07-2b1c-7000-8000-000000000001", email="someone@example.com", display_name="Someone"))
_METADATA = (("authorization", "Bearer known"),)


class _Known:
    async def verify(self, _: str) -> AccessClaims:
        return AccessClaims("u1", "someone@example.com", _GET_ME.scopes, float("inf"))


class _Bare(UserServiceServicer):
    async def UpdateMe(self, request: UpdateMeRequest, context: Any) -> UpdateMeResponse:  # noqa: N802
        return UpdateMeResponse()

    async def GetMe(self, request: GetMeRequest, context: Any) -> GetMeResponse:  # noqa: N802 - the generated name
        return _ANSWER


class _Handlers:
    async def get_me(self, _: GetMeRequest, __: Call) -> GetMeResponse:
        return _ANSWER

    async def update_me(self, _: UpdateMeRequest, __: Call) -> UpdateMeResponse:
        return UpdateMeResponse()


class _Nowhere:
    def add(self, _: AuditRecord) -> None:
        pass

    async def write(self, _: AuditRecord) -> None:
        pass


def _chain(tracing: Tracing) -> list[Link]:
    return standard_chain(
        Settings(),
        metrics=Metrics(),
        tracing=tracing,
        users=_Known(),
        services=ServiceTokens(b"k" * 32),
        records=_Nowhere(),
        violations=violations,
    )


def _dispatcher(elements: Sequence[Link]) -> Dispatcher:
    return Dispatcher({_GET_ME.service: _Handlers()}, elements)


async def _serve_bare(pipe: Connection) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_UserServiceServicer_to_server(_Bare(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(f"127.0.0.1:{port}")
    await asyncio.to_thread(pipe.recv)
    await server.stop(0)


async def _serve_chain(pipe: Connection) -> None:
    configure(Settings())
    door = GrpcDoor(Settings(), Health({}).servicer)
    address = door.bind("127.0.0.1:0")
    door.add(_dispatcher(_chain(Tracing(0.0, None))))
    await door.start()
    pipe.send(address)
    await asyncio.to_thread(pipe.recv)
    await door.stop(0)


def _run_bare(pipe: Connection) -> None:
    uvloop.run(_serve_bare(pipe))


def _run_chain(pipe: Connection) -> None:
    uvloop.run(_serve_chain(pipe))


async def _round(stub: Any, server: psutil.Process) -> tuple[float, float]:
    """Calls per second and the server's processor time per call in microseconds, over one round."""
    used = server.cpu_times()
    end = time.perf_counter() + ROUND_S

    async def caller() -> int:
        count = 0
        while time.perf_counter() < end:
            await stub.GetMe(GetMeRequest(), metadata=_METADATA, timeout=10)
            count += 1
        return count

    start = time.perf_counter()
    counts = await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    total, wall_s, now = sum(counts), time.perf_counter() - start, server.cpu_times()
    return total / wall_s, (now.user + now.system - used.user - used.system) / total * 1e6


async def _compare(addresses: list[str], pids: list[int]) -> dict[str, Any]:
    async with grpc.aio.insecure_channel(addresses[0]) as one, grpc.aio.insecure_channel(addresses[1]) as other:
        sides = {"bare": (UserServiceStub(one), psutil.Process(pids[0])), "chain": (UserServiceStub(other), psutil.Process(pids[1]))}
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for number in range(ROUNDS + 1):
            for name, side in sides.items():
                found = await _round(*side)
                if number:  # the first round warms up
                    rounds[name].append(found)
    figures = {}
    for name, found_all in rounds.items():
        figures[f"{name}_per_s"] = round(statistics.median(rate for rate, _ in found_all))
        figures[f"{name}_cpu_us"] = round(statistics.median(cpu_us for _, cpu_us in found_all))
    return {
        **figures,
        "throughput_ratio": round(figures["chain_per_s"] / figures["bare_per_s"], 3),
        "cpu_ratio": round(figures["chain_cpu_us"] / figures["bare_cpu_us"], 3),
    }


async def _local_us(elements: Sequence[Link]) -> float:
    """Microseconds per call through a chain, without a network."""
    dispatcher = _dispatcher(elements)
    metadata = dict(_METADATA)
    request = GetMeRequest()

    async def read() -> GetMeRequest:
        return request

    start = time.perf_counter()
    for _ in range(LOCAL_CALLS):
        await dispatcher.unary(dispatcher.new_call(_GET_ME, metadata), read)
    return (time.perf_counter() - start) / LOCAL_CALLS * 1e6


async def _local() -> dict[str, float]:
    configure(Settings())
    off = Tracing(0.0, None)
    traced = make_tracing(Settings(trace_sample_ratio=1.0), "bench", InMemorySpanExporter())
    rarely = make_tracing(Settings(trace_sample_ratio=0.01), "bench", InMemorySpanExporter())
    chains = {
        "none_us": [],
        "chain_us": _chain(off),
        "chain_without_telemetry_us": [element for element in _chain(off) if element.name != "telemetry"],
        "chain_sampling_1_percent_us": _chain(rarely),
        "chain_sampling_all_us": _chain(traced),
    }
    figures = {name: round(await _local_us(elements), 2) for name, elements in chains.items()}
    traced.shutdown()
    rarely.shutdown()
    return figures


def main() -> None:
    """Runs everything and prints one JSON document."""
    spawn = multiprocessing.get_context("spawn")
    pipes = []
    addresses = []
    processes = []
    for run in (_run_bare, _run_chain):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=run, args=(theirs,), daemon=True)
        process.start()
        addresses.append(ours.recv())
        pipes.append(ours)
        processes.append(process)
    figures = {"unary_echo": uvloop.run(_compare(addresses, [process.pid or 0 for process in processes])), "local": uvloop.run(_local())}
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send("stop")
        process.join(5)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
