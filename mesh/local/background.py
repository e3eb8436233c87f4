"""Starts and stops the supervisor from a command: in the background, with its progress shown, safe to repeat."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mesh.local import envoy
from mesh.local.errors import LocalError
from mesh.local.leftovers import stop_leftovers
from mesh.local.machine import check_machine
from mesh.local.ports import check_port
from mesh.local.program import lean_environment, log_end
from mesh.local.solo import Options
from mesh.local.state import StackState, SupervisorLock, live_state, read_state
from mesh.local.supervisor import run_supervisor, supervisor_log

_POLL_S = 0.05
_START_S = 180.0
# Longer than the edge, our processes and the servers may take, one after the other.
_STOP_S = 75.0
_KILL_S = 5.0
# How a supervisor ends that was told to.
_STOPPED = (0, -signal.SIGTERM)
# Files that tell a data directory of ours from any other.
_MARKS = ("state.json", "supervisor.lock")


def start(options: Options, report: Callable[[str], None]) -> tuple[StackState, bool]:
    """Brings the stack up unless it is up, reporting each component. Returns its state, and whether it was up already.

    Raises LocalError when it cannot come up, or runs with other options.
    """
    home = options.home.resolve()
    state = live_state(home)
    if state is not None and state.is_ready:
        _check_same(options, state)
        return state, True
    lock = None if SupervisorLock.is_held(home) else _prepare(options, home)
    state = _follow(home, _launch(options, home, lock) if lock else None, report)
    _check_same(options, state)
    return state, False


def run_here(options: Options, report: Callable[[str], None]) -> None:
    """Runs the stack in this process until it is told to stop. Raises LocalError when it cannot come up or runs already."""
    home = options.home.resolve()
    lock = None if SupervisorLock.is_held(home) else _prepare(options, home)
    if lock is None:
        raise LocalError(f"A stack runs in {home} already. Run `treadle down` first.")
    run_supervisor(options, report, lock)


def stop(home: Path, report: Callable[[str], None]) -> bool:
    """Takes the stack down, also one that is coming up, until nothing of it is left. False when nothing ran."""
    home = home.resolve()
    was_running = _stop_supervisor(home, report)
    left = stop_leftovers(read_state(home))
    for name in left:
        report(f"{name} was left over; stopped")
    return was_running or bool(left)


def wipe(home: Path) -> bool:
    """Removes the data directory. False when there is none. Raises LocalError when it does not look like one of ours."""
    home = home.resolve()
    if not home.exists():
        return False
    if not home.is_dir() or (any(home.iterdir()) and not any((home / mark).exists() for mark in _MARKS)):
        raise LocalError(f"{home} does not look like a Treadle data directory; it was left alone.")
    shutil.rmtree(home)
    shutil.rmtree(envoy.admin_socket(home).parent, ignore_errors=True)
    return True


def _prepare(options: Options, home: Path) -> SupervisorLock | None:
    """Looks whether the stack can start, and takes its lock. None when another command was faster."""
    check_machine(home)
    if options.edge_port:
        check_port(options.edge_port)
    # Others may walk through it, as PostgreSQL's own account must; they cannot list or read it.
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    lock = SupervisorLock(home)
    return lock if lock.acquire() else None


def _launch(options: Options, home: Path, lock: SupervisorLock) -> "subprocess.Popen[bytes]":
    log = supervisor_log(home)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    arguments = ["--home", str(home), "--edge-port", str(options.edge_port), "--workers", str(options.workers)]
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own argument list
            [sys.executable, "-P", "-m", "mesh.local", *arguments, "--lock", str(lock.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session of its own: it outlives this command and its terminal.
            start_new_session=True,
            pass_fds=[lock.fileno()],
            env=lean_environment(),
        )
    lock.name(process.pid)
    lock.release()
    return process


def _stop_supervisor(home: Path, report: Callable[[str], None]) -> bool:
    """Ends the supervisor and waits for it. False when there is none."""
    if not SupervisorLock.is_held(home):
        return False
    # Ours to kill in the end: the lock is held, so the pid is its holder's.
    for number, patience_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, _KILL_S)):
        pid = SupervisorLock.holder(home)
        try:
            if pid:
                os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise LocalError(f"The stack in {home} is another account's; its supervisor is pid {pid}.") from None
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not SupervisorLock.is_held(home):
                return True
            time.sleep(_POLL_S)
        report(f"The supervisor (pid {pid}) does not end after {patience_s:g} s.")
    raise LocalError(f"The supervisor cannot be ended. See {supervisor_log(home)}.")


def _follow(home: Path, process: "subprocess.Popen[bytes] | None", report: Callable[[str], None]) -> StackState:
    """Shows the progress until the stack is ready. `process` is the supervisor when we have just started it."""
    deadline = time.monotonic() + _START_S
    shown = 0
    while time.monotonic() < deadline:
        has_ended = process.poll() is not None if process is not None else not SupervisorLock.is_held(home)
        state = read_state(home) if process is not None else live_state(home)
        if state is not None and (process is None or state.supervisor_pid == process.pid):
            for line in state.progress[shown:]:
                report(line)
            shown = len(state.progress)
            if state.is_ready:
                return state
            if state.error:
                raise LocalError(state.error)
        if has_ended:
            if process is not None and process.returncode in _STOPPED:
                raise LocalError("The stack was taken down while it came up.")
            raise LocalError(f"The supervisor ended while the stack came up.\n{log_end(supervisor_log(home))}")
        time.sleep(_POLL_S)
    raise LocalError(f"The stack is not up after {_START_S:g} s. See {supervisor_log(home)}.")


def _check_same(options: Options, state: StackState) -> None:
    port = int(state.edge_url.rpartition(":")[2])
    if options.edge_port and options.edge_port != port:
        raise LocalError(f"The stack runs already, on port {port}. Run `treadle down` first to move it.")
    workers = sum(1 for item in state.processes if item.kind == "worker")
    if options.workers and options.workers != workers:
        raise LocalError(f"The stack runs already, with {workers} workers. Run `treadle down` first to change that.")
