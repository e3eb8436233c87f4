"""Starts a stack of its own, measures it through the edge, prints one JSON document on stdout and takes the stack down again."""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mesh.cli import usage
from mesh.local.state import StackState, read_state
from tests.benchmarks import grpc_edge, sockets
from tests.benchmarks.http_load import HttpLoad

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
WORKLOADS: dict[str, str] = {
    "chain_40_pure": "chain --nodes 40 --effect pure --runs 400 --in-flight 32",
    "chain_40_effectful": "chain --nodes 40 --effect effectful --runs 300 --in-flight 32",
    "chain_40_pure_alone": "chain --nodes 40 --effect pure --runs 100 --in-flight 1",
    "chain_40_effectful_alone": "chain --nodes 40 --effect effectful --runs 50 --in-flight 1",
    "fanout_100": "fanout --width 100 --runs 150 --in-flight 8",
    "fanout_100_alone": "fanout --width 100 --runs 50 --in-flight 1",
    "start": "start --runs 300 --in-flight 1",
    "start_64": "start --runs 3000 --in-flight 64",
    "firings_100000": "fanout --width 316 --depth 2 --runs 1 --in-flight 1",
}
# Cost per step as the load doubles, in four steps each; four times as many of the one would cost four times as much.
GROWTH: dict[str, list[str]] = {
    "runs": [f"chain --nodes 40 --runs {runs}" for runs in (200, 400, 800, 1600)],
    "nodes": [f"chain --nodes {nodes} --runs {16_000 // nodes}" for nodes in (20, 40, 80, 160)],
    "events": [f"fanout --width {width} --runs {20_000 // width}" for width in (50, 100, 200, 400)],
    "users": [f"chain --nodes 40 --runs 400 --users {users}" for users in (1, 2, 4, 8)],
}
# Above the default limit of a run, for the workload of 100,000 firings.
ENVIRONMENT = {"TREADLE_MAX_EMISSIONS": "1000000"}


def main() -> int:
    """Runs every workload `--repeat` times: all readings, and their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", action="append", help="names of workloads; all when absent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        stack = Stack(Path(folder) / "home")
        stack.treadle("up")
        try:
            report = stack.measure(options.repeat, options.only)
        finally:
            stack.treadle("down", "--wipe")
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0


class Stack:
    """A stack under a home of its own, driven through the command line."""

    def __init__(self, home: Path) -> None:
        """`home` is made by `treadle up`."""
        self.home = home

    def treadle(self, *words: str) -> str:
        """Runs a command against this stack and returns its stdout. Raises CalledProcessError when it fails."""
        command = [str(Path(sys.executable).parent / "treadle"), *words, "--home", str(self.home)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ENVIRONMENT}).stdout

    def bench(self, words: str) -> dict[str, Any]:
        """One reading."""
        reading: dict[str, Any] = json.loads(self.treadle("bench", *words.split(), "--json"))
        return reading

    def measure(self, repeat: int, only: list[str] | None) -> dict[str, Any]:
        """All readings by workload, beside what the machine is."""
        results: dict[str, Any] = {}
        if not only or "idle" in only:
            results["idle"] = {"rss_mb": usage.memory_mb(self._state())}
        for name, words in WORKLOADS.items():
            if not only or name in only:
                readings = [self.bench(words) for _ in range(repeat)]
                results[name] = {"median": median(readings), "readings": readings}
        if not only or "growth" in only:
            results["growth"] = {name: self._growth(points, repeat) for name, points in GROWTH.items()}
        if not only or "http" in only:
            results["http"] = [load.run() for load in self._http_loads() for _ in range(repeat)]
        if not only or "sockets" in only:
            results["sockets"] = asyncio.run(sockets.measure(self.home, sockets.CONNECTIONS, sockets.EVENTS_PER_S, sockets.DURATION_S))
        if not only or "grpc" in only:
            results["grpc"] = self._grpc()
        return {"machine": {"cpu_count": os.cpu_count(), "python": platform.python_version()}, "results": results}

    def _growth(self, points: list[str], repeat: int) -> list[dict[str, Any]]:
        """Points in turn, so that a machine that changes its speed changes that of all."""
        rounds = [[self.bench(words) for words in points] for _ in range(repeat)]
        costs = [median([readings[at] for readings in rounds])["cpu_s_per_1000_steps"] for at in range(len(points))]
        return [{"workload": words, "cpu_s_per_1000_steps": cost} for words, cost in zip(points, costs, strict=True)]

    def _state(self) -> StackState:
        state = read_state(self.home)
        if state is None:
            raise RuntimeError("the stack has gone")
        return state

    def _grpc(self) -> dict[str, Any]:
        state = self._state()
        pid = next(item.pid for item in state.processes if item.name == "services")
        return grpc_edge.measure(self.home, state.grpc_target, self.treadle("token").strip(), pid)

    def _http_loads(self) -> list[HttpLoad]:
        edge = json.loads(self.treadle("status", "--json"))["edge_url"]
        token = self.treadle("token").strip()
        graph = json.loads(self.treadle("graphs", "import", str(EXAMPLES / "greeting.yaml"), "--json"))["graph"]["id"]
        return [
            HttpLoad("get_catalogue", f"{edge}/v1/blocks?page_size=20", token),
            HttpLoad("get_catalogue_whole", f"{edge}/v1/blocks", token),
            HttpLoad("get_graph", f"{edge}/v1/graphs/{graph}", token),
            HttpLoad("get_keys", f"{edge}/.well-known/jwks.json", token),
            HttpLoad("post_execution", f"{edge}/v1/executions", token, body=json.dumps({"graph_id": graph, "inputs": {"Name": "Ada"}})),
        ]


def median(readings: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure of the first reading, down to those inside of figures."""
    found: dict[str, Any] = {}
    for name, value in readings[0].items():
        if isinstance(value, dict):
            found[name] = median([reading[name] for reading in readings if name in reading])
        elif isinstance(value, (int, float)):
            found[name] = round(statistics.median([reading[name] for reading in readings if name in reading]), 4)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
