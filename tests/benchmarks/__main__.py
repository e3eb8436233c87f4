"""Starts a stack of its own, measures it through the edge, prints one JSON document on stdout and takes the stack down again."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.http_load import HttpLoad

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
WORKLOADS: dict[str, list[str]] = {
    "chain_40_pure": ["chain", "--nodes", "40", "--effect", "pure", "--runs", "300", "--in-flight", "32"],
    "chain_40_effectful": ["chain", "--nodes", "40", "--effect", "effectful", "--runs", "300", "--in-flight", "32"],
    "chain_40_pure_alone": ["chain", "--nodes", "40", "--effect", "pure", "--runs", "50", "--in-flight", "1"],
    "fanout_100": ["fanout", "--width", "100", "--runs", "100", "--in-flight", "8"],
    "fanout_100_alone": ["fanout", "--width", "100", "--runs", "30", "--in-flight", "1"],
    "start": ["start", "--runs", "100", "--in-flight", "1"],
}


def main() -> int:
    """Runs every workload `--repeat` times; all readings are kept, the reader takes the median."""
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
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def measure(self, repeat: int, only: list[str] | None) -> dict[str, Any]:
        """All readings by workload, beside what the machine is."""
        results: dict[str, list[Any]] = {}
        for name, words in WORKLOADS.items():
            if not only or name in only:
                results[name] = [json.loads(self.treadle("bench", *words, "--json")) for _ in range(repeat)]
        if not only or "http" in only:
            results["http"] = [load.run() for load in self._http_loads() for _ in range(repeat)]
        return {"machine": {"cpu_count": os.cpu_count(), "python": platform.python_version()}, "results": results}

    def _http_loads(self) -> list[HttpLoad]:
        edge = json.loads(self.treadle("status", "--json"))["edge_url"]
        token = self.treadle("token").strip()
        graph = json.loads(self.treadle("graphs", "import", str(EXAMPLES / "greeting.yaml"), "--json"))["graph"]["id"]
        return [
            HttpLoad("get_catalogue", f"{edge}/v1/blocks?page_size=20", token),
            HttpLoad("get_catalogue_whole", f"{edge}/v1/blocks", token),
            HttpLoad("get_graph", f"{edge}/v1/graphs/{graph}", token),
        ]


if __name__ == "__main__":
    raise SystemExit(main())
