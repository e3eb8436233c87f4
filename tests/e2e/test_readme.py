"""What the README tells people to type is run as it stands, against the test stack instead of the one on port 8080."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e.conftest import TREADLE, Stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def code(language: str, *marks: str) -> str:
    """The one block of a language that holds all the marks."""
    found = [text for kind, text in BLOCKS if kind == language and all(mark in text for mark in marks)]
    assert len(found) == 1, f"{len(found)} blocks of {language} with {marks}"
    return str(found[0])


def adapted(text: str, stack: Stack) -> str:
    return text.replace(".venv/bin/treadle", f"'{TREADLE}' --home '{stack.home}'").replace("127.0.0.1:8080", stack.status["grpc_target"])


def shell(script: str, **variables: str) -> str:
    environment = {**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", script]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def python(script: str, **variables: str) -> str:
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, f"{script}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def rest(stack: Stack) -> SimpleNamespace:
    """What the REST example prints, and the variables that it leaves to the examples after it."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    names = ("TOKEN", "GRAPH", "EXECUTION")
    script = adapted(code("sh", "curl -s"), stack) + "".join(f"echo {name}=${name}\n" for name in names)
    lines = shell(script).splitlines()
    return SimpleNamespace(lines=lines[: -len(names)], variables=dict(line.split("=", 1) for line in lines[-len(names) :]))


def test_rest_runs_a_graph_and_shows_it_live(rest: Any) -> None:
    assert '"EVENT_KIND_EXECUTION_QUEUED"' in rest.lines[0]
    assert '"EVENT_KIND_EXECUTION_COMPLETED"' in rest.lines[-1]
    assert any('"Hello, Ada!"' in line for line in rest.lines)


def test_grpcurl_lists_and_creates(stack: Stack, rest: Any) -> None:
    printed = shell(adapted(code("sh", "grpcurl"), stack), **rest.variables)
    assert "treadle.execution.v1.ExecutionService" in printed
    assert '"EXECUTION_STATUS_QUEUED"' in printed


def test_python_follows_an_execution_over_grpc(stack: Stack, rest: Any) -> None:
    lines = python(adapted(code("python", "import grpc"), stack), **rest.variables).splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1].split()[1] == "EVENT_KIND_EXECUTION_COMPLETED"


def test_python_follows_an_execution_over_a_websocket(stack: Stack, rest: Any) -> None:
    lines = python(adapted(code("python", "websockets"), stack), **rest.variables).splitlines()
    assert lines[-1].split() == [str(len(rest.lines)), "EVENT_KIND_EXECUTION_COMPLETED"]


def test_the_block_is_a_block(tmp_path: Path) -> None:
    file = tmp_path / "initials.py"
    run = """
import asyncio
async def main():
    print([item async for item in InitialsBlock().run(InitialsBlock.Input(name="Ada Lovelace"), None)])
asyncio.run(main())
"""
    file.write_text(code("python", "class InitialsBlock") + run)
    assert python(file.read_text()).strip() == "[('initials', 'AL')]"


def test_every_command_that_is_named_exists() -> None:
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code_of_page = "\n".join([*(text for kind, text in BLOCKS if kind == "sh"), *re.findall(r"`([^`\n]+)`", README)])
    assert set(re.findall(r"\bmake ([a-z-]+)", code_of_page)) <= targets
    for command in sorted(set(re.findall(r"treadle (?:--\w+ )*([a-z]+)\b", code_of_page))):
        assert subprocess.run([TREADLE, command, "--help"], capture_output=True, check=False).returncode == 0, command


def test_every_path_that_is_named_exists() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`((?:protos|gen|mesh|services|gateway|deploy|tests)/[\w/.-]*)`", README)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
