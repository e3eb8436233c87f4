"""The watchdog: ends a process whose loop stands still for good, and no other."""

import os
import signal
import subprocess
import sys
import time
from textwrap import dedent

from mesh.watchdog import EXIT_CODE

PATIENCE_S = 30.0


def process(body: str, limit_s: float = 1.0) -> "subprocess.Popen[str]":
    """A watched process whose loop runs the body. It is looked at more often than others, for the sake of the test's time."""
    program = """
import asyncio, re, time
from mesh import watchdog

watchdog.LOOK_S, watchdog.TURN_S = 0.1, 0.05

async def main():
    secret = "hunter2"
    with watchdog.watching({}):
{}

asyncio.run(main())
"""
    text = program.format(limit_s, "\n".join(f"        {line}" for line in dedent(body).strip().splitlines()))
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_loop_that_stands_still_ends_the_process_with_its_stacks() -> None:
    hung = process("time.sleep(3600)")
    _, errors = hung.communicate(timeout=PATIENCE_S)
    assert hung.returncode == EXIT_CODE
    assert "stood still" in errors
    assert "in main" in errors
    assert "hunter2" not in errors


def test_code_that_keeps_the_interpreter_to_itself_ends_the_process_with_its_stacks() -> None:
    hung = process("re.match('(a+)+$', 'a' * 60 + 'b')")
    _, errors = hung.communicate(timeout=PATIENCE_S)
    assert hung.returncode == -signal.SIGPROF
    assert "in main" in errors
    assert "hunter2" not in errors


def test_a_process_that_was_stopped_goes_on() -> None:
    stopped = process(
        """
        print("ready", flush=True)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            await asyncio.sleep(0.1)
        print("went on")
        """
    )
    assert stopped.stdout is not None
    assert stopped.stdout.readline() == "ready\n"
    os.kill(stopped.pid, signal.SIGSTOP)
    time.sleep(2)
    os.kill(stopped.pid, signal.SIGCONT)
    output, errors = stopped.communicate(timeout=PATIENCE_S)
    assert (stopped.returncode, output) == (0, "went on\n"), errors


def test_a_loop_that_is_slow_goes_on() -> None:
    slow = process(
        """
        for _ in range(4):
            time.sleep(0.5)
            await asyncio.sleep(0)
        """,
        limit_s=3.0,
    )
    _, errors = slow.communicate(timeout=PATIENCE_S)
    assert slow.returncode == 0, errors


def test_without_a_limit_nothing_is_watched() -> None:
    free = process("time.sleep(0.5)", limit_s=0)
    _, errors = free.communicate(timeout=PATIENCE_S)
    assert free.returncode == 0, errors
