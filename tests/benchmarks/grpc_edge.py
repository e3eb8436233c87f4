"""What the chain costs a gRPC client: a unary call through the edge against a bare `grpc.aio` echo behind the same Envoy, in turns.

The Envoy is one more of the stack's own configuration, with a second port that differs in one thing: the path of the method leads to the
echo, which answers with the bytes that the service answers with.
"""

import asyncio
import copy
import json
import multiprocessing
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import uvloop
from treadle.block.v1.block_service_pb2 import GetBlockRequest

from mesh.edge.routes import grpc_cluster
from mesh.local import envoy
from mesh.local.ports import free_port

METHOD = "/treadle.block.v1.BlockService/GetBlock"
# The block with the shortest answer of those that ship.
BLOCK_ID = "2b935639-65bc-48fd-9f88-823cd706fcd9"
IN_FLIGHT = 50
ROUND_S = 2.0
ROUNDS = 5
_START_S = 20.0
_ECHO = "echo"

Json = dict[str, Any]


def measure(home: Path, target: str, token: str, pid: int) -> Json:
    """Calls per second of both and their ratio; `cpu_us` is processor time of the server per call. `pid` serves the method."""
    metadata = (("authorization", f"Bearer {token}"),)
    answer = uvloop.run(_once(target, metadata))
    with _echo(answer) as (address, echo_pid), _envoy(home, address) as (service_port, echo_port):
        sides = {"service": (service_port, psutil.Process(pid)), "bare": (echo_port, psutil.Process(echo_pid))}
        return uvloop.run(_compare(sides, metadata))


async def _once(target: str, metadata: tuple[tuple[str, str], ...]) -> bytes:
    async with grpc.aio.insecure_channel(target) as channel:
        return bytes(await _call(channel)(GetBlockRequest(block_id=BLOCK_ID).SerializeToString(), metadata=metadata))


def _call(channel: grpc.aio.Channel) -> Any:
    return channel.unary_unary(METHOD, request_serializer=bytes, response_deserializer=bytes)


async def _compare(sides: dict[str, tuple[int, psutil.Process]], metadata: tuple[tuple[str, str], ...]) -> Json:
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, (port, process) in sides.items():
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                found = await _round(_call(channel), process, metadata)
            if number:  # the first round warms up
                rounds[name].append(found)
    figures: Json = {}
    for name, found_all in rounds.items():
        figures[f"{name}_per_s"] = round(statistics.median(rate for rate, _ in found_all))
        figures[f"{name}_cpu_us"] = round(statistics.median(cpu_us for _, cpu_us in found_all))
    pairs = zip(rounds["service"], rounds["bare"], strict=True)
    return {**figures, "ratio": round(statistics.median(service[0] / bare[0] for service, bare in pairs), 3)}


async def _round(call: Any, server: psutil.Process, metadata: tuple[tuple[str, str], ...]) -> tuple[float, float]:
    """Calls per second and the server's processor time per call in microseconds, over one round."""
    request, used, started = GetBlockRequest(block_id=BLOCK_ID).SerializeToString(), server.cpu_times(), time.perf_counter()

    async def caller() -> int:
        count = 0
        while time.perf_counter() < started + ROUND_S:
            await call(request, metadata=metadata, timeout=10)
            count += 1
        return count

    total = sum(await asyncio.gather(*(caller() for _ in range(IN_FLIGHT))))
    wall_s, now = time.perf_counter() - started, server.cpu_times()
    return total / wall_s, (now.user + now.system - used.user - used.system) / total * 1e6


@contextmanager
def _echo(answer: bytes) -> Iterator[tuple[str, int]]:
    """A bare server in a process of its own: its address and pid."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run_echo, args=(theirs, answer), daemon=True)
    process.start()
    try:
        yield ours.recv(), process.pid or 0
    finally:
        process.terminate()
        process.join()


def _run_echo(pipe: Connection, answer: bytes) -> None:
    uvloop.run(_serve_echo(pipe, answer))


async def _serve_echo(pipe: Connection, answer: bytes) -> None:
    async def handle(_: bytes, __: Any) -> bytes:
        return answer

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service, _, name = METHOD[1:].partition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: grpc.unary_unary_rpc_method_handler(handle)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(f"127.0.0.1:{port}")
    await server.wait_for_termination()


@contextmanager
def _envoy(home: Path, echo_address: str) -> Iterator[tuple[int, int]]:
    """The stack's edge once more: a port as it is, and one that leads to the echo."""
    ports = (free_port(), free_port())
    config, admin = home / "edge" / "bench.json", home / "run" / "bench-admin.sock"
    config.write_text(json.dumps(with_echo(json.loads((home / "edge" / "envoy.json").read_text()), admin, ports, echo_address)))
    command = [str(envoy.binary()), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + _START_S
            while not envoy.is_ready(admin):
                if time.monotonic() > deadline:
                    raise TimeoutError("the edge did not start")
                time.sleep(0.05)
            yield ports
        finally:
            process.terminate()


def with_echo(config: Json, admin: Path, ports: tuple[int, int], echo_address: str) -> Json:
    """The configuration of such an Envoy, from that of a stack."""
    made = copy.deepcopy(config)
    made["admin"]["address"]["pipe"]["path"] = str(admin)
    resources = made["static_resources"]
    plain = resources["listeners"][0]
    bare = copy.deepcopy(plain)
    for name, port, listener in (("service", ports[0], plain), ("bare", ports[1], bare)):
        listener["name"] = name
        listener["address"]["socket_address"]["port_value"] = port
    resources["listeners"] = [plain, bare]
    manager = bare["filter_chains"][0]["filters"][0]["typed_config"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        if route["match"].get("path") == METHOD and "route" in route:
            route["route"]["cluster"] = _ECHO
    cluster = copy.deepcopy(next(item for item in resources["clusters"] if item["name"] == grpc_cluster("block")))
    host, _, port_text = echo_address.rpartition(":")
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port_text)}}}}
    cluster |= {"name": _ECHO, "load_assignment": {"cluster_name": _ECHO, "endpoints": [{"lb_endpoints": [endpoint]}]}}
    resources["clusters"].append(cluster)
    return made
