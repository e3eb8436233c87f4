"""Starts and stops the supervisor from a command: in the background, with its progress shown, safe to repeat."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mesh.local import envoy, nats, postgres, valkey
from mesh.local.errors import LocalError, PortTakenError
from mesh.local.leftovers import stop_leftovers
from mesh.local.ports import is_free
from mesh.local.program import log_end
from mesh.local.solo import Options, is_external
from mesh.local.state import StackState, SupervisorLock, read_state, state_path
from mesh.local.supervisor import supervisor_log

MIN_FREE_BYTES = 500 * 1024 * 1024
_POLL_S = 0.05
_START_S = 180.0
_STOP_S = 90.0
# Files that tell a data directory of ours from any other.
_MARKS = ("state.json", "supervisor.lock")


def check_machine(home: Path) -> None:
    """Raises LocalError when a program is missing or the disk is nearly full."""
    for name, find in {"postgres": postgres.bin_directory, "nats": nats.binary, "cache": valkey.binary}.items():
        if not is_external(name):
            find()
    envoy.binary()
    existing = next(path for path in (home.resolve(), *home.resolve().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        raise LocalError(f"Only {free // 1024**2} MB are free on the disk of {home}; the stack needs {MIN_FREE_BYTES // 1024**2} MB.")
    if not os.access(existing, os.W_OK):
        raise LocalError(f"{existing} cannot be written to. Choose another directory with --home.")


def start(options: Options, report: Callable[[str], None]) -> StackState:
    """Brings the stack up unless it is up, reporting each component. Returns its state. Raises LocalError when it cannot come up."""
    home = options.home.resolve()
    if SupervisorLock.is_held(home):
        state = _follow(home, None, report)
        _check_same(options, state)
        return state
    if options.edge_port and not is_free(options.edge_port):
        raise PortTakenError(f"Port {options.edge_port} is taken by another program. Choose another with --edge-port, or leave it out.")
    check_machine(home)
    return _follow(home, _launch(options, home), report)


def stop(home: Path, report: Callable[[str], None]) -> bool:
    """Takes the stack down and waits until nothing of it is left. False when nothing ran. Raises LocalError when it does not end."""
    home = home.resolve()
    state = read_state(home)
    was_running = SupervisorLock.is_held(home)
    if was_running and state is not None:
        import signal  # noqa: PLC0415

        os.kill(state.supervisor_pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while SupervisorLock.is_held(home):
            if time.monotonic() > deadline:
                raise LocalError(f"The supervisor (pid {state.supervisor_pid}) does not end. See {supervisor_log(home)}.")
            time.sleep(_POLL_S)
    left = stop_leftovers(state)
    for name in left:
        report(f"{name} was left over; stopped")
    return was_running or bool(left)


def wipe(home: Path) -> None:
    """Removes the data directory. Raises LocalError when it does not look like one of ours."""
    if not home.exists():
        return
    if not any((home / mark).exists() for mark in _MARKS) and any(home.iterdir()):
        raise LocalError(f"{home} does not look like a Treadle data directory; it was left alone.")
    shutil.rmtree(home)
    shutil.rmtree(envoy.admin_socket(home).parent, ignore_errors=True)


def _launch(options: Options, home: Path) -> "subprocess.Popen[bytes]":
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    if not _has_leftovers(home):
        state_path(home).unlink(missing_ok=True)
    log = supervisor_log(home)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    arguments = ["--home", str(home), "--edge-port", str(options.edge_port), "--workers", str(options.workers)]
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own argument list
            [sys.executable, "-m", "mesh.cli.main", "up", "--foreground", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session of its own: it outlives this command and its terminal.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def _has_leftovers(home: Path) -> bool:
    state = read_state(home)
    return state is not None and any(item.is_alive for item in state.processes)


def _follow(home: Path, process: "subprocess.Popen[bytes] | None", report: Callable[[str], None]) -> StackState:
    """Shows the progress until the stack is ready. `process` is the supervisor when we have just started it."""
    deadline = time.monotonic() + _START_S
    shown = 0
    while time.monotonic() < deadline:
        state = read_state(home)
        is_current = state is not None and (process is None or state.supervisor_pid == process.pid)
        if state is not None and is_current:
            for line in state.progress[shown:] if process is not None else ():
                report(line)
            shown = len(state.progress)
            if state.is_ready:
                return state
            if state.error:
                raise LocalError(state.error)
        if process is not None and process.poll() is not None:
            raise LocalError(f"The supervisor ended with code {process.returncode}.\n{log_end(supervisor_log(home))}")
        if process is None and not SupervisorLock.is_held(home):
            raise LocalError(f"The stack ended while it came up.\n{log_end(supervisor_log(home))}")
        time.sleep(_POLL_S)
    raise LocalError(f"The stack is not up after {_START_S:g} s. See {supervisor_log(home)}.")


def _check_same(options: Options, state: StackState) -> None:
    port = int(state.edge_url.rpartition(":")[2])
    if options.edge_port and options.edge_port != port:
        raise LocalError(f"The stack runs already, on port {port}. Run `treadle down` first to move it.")
