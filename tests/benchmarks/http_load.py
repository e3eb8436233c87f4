"""HTTP load by wrk (Debian package `wrk`): a C client, so that the client is a small part of what is measured."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Any

_POST = """
wrk.method, wrk.body = "POST", [==[{body}]==]
wrk.headers["content-type"] = "application/json"
"""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_PERCENTILE = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """Requests to one URL over kept connections for a bounded time: GETs, or POSTs when there is a body, which is JSON."""

    name: str
    url: str
    token: str
    connections: int = 16
    duration_s: int = 5
    body: str = ""

    def run(self) -> dict[str, Any]:
        """`{"name", "requests_per_s", "latency_ms": {"p50", "p99"}, "failed"}`, or the reason why it was not measured."""
        wrk = shutil.which("wrk")
        if wrk is None:
            return {"name": self.name, "skipped": "wrk is not installed"}
        command = [
            wrk,
            "-t1",
            f"-c{self.connections}",
            f"-d{self.duration_s}s",
            "--latency",
            "-H",
            f"authorization: Bearer {self.token}",
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            if self.body:
                script.write(_POST.format(body=self.body))
                script.flush()
                command += ["-s", script.name]
            text = subprocess.run([*command, self.url], check=True, stdout=subprocess.PIPE, text=True).stdout
        return {"name": self.name, **read_report(text)}


def read_report(text: str) -> dict[str, Any]:
    """Takes the figures out of wrk's report."""
    latency = {f"p{percent}": round(float(value) * _UNITS[unit], 3) for percent, value, unit in _PERCENTILE.findall(text)}
    rate = _RATE.search(text)
    refused = _REFUSED.search(text)
    return {
        "requests_per_s": float(rate[1]) if rate else 0.0,
        "latency_ms": latency,
        "failed": int(refused[1]) if refused else 0,
    }
