"""Real processes are killed; the stack comes back and nothing is lost."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack, wait_for


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
