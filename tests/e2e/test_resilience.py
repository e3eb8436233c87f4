"""Real processes are killed; the stack comes back and nothing is lost."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mesh.local.ports import LOOPBACK, free_port, is_free
from tests.e2e.conftest import TREADLE, Stack

DEADLINE_S = 40.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.1)


def process_of(stack: Stack, name: str) -> dict[str, Any]:
    return next(dict(process) for process in stack.status["processes"] if process["name"] == name)


def is_back(stack: Stack, name: str, old_pid: int) -> bool:
    process = process_of(stack, name)
    return bool(process["healthy"]) and process["pid"] != old_pid


def test_killed_workers_lose_nothing_and_repeat_nothing(stack: Stack) -> None:
    figures = stack.json("bench", "crash", "--runs", "50", "--in-flight", "50")
    assert figures["failed"] == 0
    assert figures["lost"] == 0
    assert figures["faults"] == []


@pytest.mark.parametrize("name", ["services", "gateway", "edge", "nats", "cache", "postgres"])
def test_what_is_killed_comes_back_and_works(stack: Stack, name: str, tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text("nodes: {out: {block: AgentOutput, input: {name: Word, value: hello}}}")
    before = process_of(stack, name)
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: is_back(stack, name, before["pid"]), f"{name} comes back")
    wait_for(lambda: all(p["healthy"] for p in stack.status["processes"]), "all is healthy")
    assert process_of(stack, name)["restarts"] == before["restarts"] + 1
    assert stack.treadle("run", str(file)).strip() == "Word: hello"


def test_down_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home")
    port = free_port(18080)
    stack.treadle("up", "--edge-port", str(port), "--workers", "1")
    status = stack.status
    assert status["edge_url"] == f"http://{LOOPBACK}:{port}"
    pids = [process["pid"] for process in status["processes"]]
    children = [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    stack.treadle("down", "--wipe")
    assert [pid for pid in [*pids, *children] if psutil.pid_exists(pid)] == []
    assert all(is_free(int(process["address"].rpartition(":")[2])) for process in status["processes"])
    assert not stack.home.exists()


def test_a_killed_supervisor_leaves_nothing_that_down_does_not_find(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home")
    stack.treadle("up", "--workers", "1")
    pids = [process["pid"] for process in stack.status["processes"]]
    supervisor = int(json.loads((stack.home / "state.json").read_text())["supervisor_pid"])
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: stack.run("status").returncode == 3, "the supervisor is gone")
    stack.treadle("down")
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    import socket  # noqa: PLC0415

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((LOOPBACK, 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        command = [TREADLE, "up", "--home", str(tmp_path / "home"), "--edge-port", str(port)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert f"Port {port} is taken" in result.stderr
