"""One real stack for all end-to-end tests, driven through the command line like a user would."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

TREADLE = str(Path(sys.executable).parent / "treadle")


DEADLINE_S = 40.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Waits until the condition holds; fails with `what` when it does not."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.1)


@dataclass(frozen=True)
class Stack:
    """A stack in a home of its own."""

    home: Path

    def treadle(self, *words: str, code: int = 0) -> str:
        """Runs a command and returns its stdout; fails when it ends with another code than `code`."""
        result = self.run(*words)
        assert result.returncode == code, f"treadle {' '.join(words)} ended with {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def run(self, *words: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs a command, in `folder` when given, whatever comes of it."""
        command = [TREADLE, "--home", str(self.home), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=170, cwd=folder)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Starts a command and does not wait for it."""
        command = [TREADLE, "--home", str(self.home), *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def json(self, *words: str, code: int = 0) -> Any:
        """The JSON document that a command prints."""
        return json.loads(self.treadle(*words, "--json", code=code))

    @property
    def status(self) -> Any:
        """`treadle status --json`, whether all is healthy or not."""
        return json.loads(self.run("status", "--json").stdout)

    def client(self) -> httpx.Client:
        """A signed-in REST client."""
        token = self.treadle("token").strip()
        return httpx.Client(base_url=self.status["edge_url"], headers={"authorization": f"Bearer {token}"}, timeout=30)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running stack."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-e2e-"))
    made = Stack(folder / "home")
    made.treadle("up", "--workers", "2")
    yield made
    made.run("down")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh() -> Iterator[Stack]:
    """A home for a stack of the test's own; what runs there is taken down whatever comes of the test.

    Not below `tmp_path`: each run of pytest closes that to other accounts again, and PostgreSQL has one when we are root.
    """
    folder = Path(tempfile.mkdtemp(prefix="treadle-e2e-"))
    made = Stack(folder / "home with a space")
    yield made
    made.run("down")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[httpx.Client]:
    """A REST client signed in as the owner."""
    with stack.client() as made:
        yield made
