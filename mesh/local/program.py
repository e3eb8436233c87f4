"""A program that the stack runs: what to start, how to know that it is ready, how to stop it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mesh.local.errors import StartError

_POLL_S = 0.05
_LOG_LINES_SHOWN = 15
MAX_LOG_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the stack. `kind` and `address` are shown by `treadle status`; `user` is the account it runs as, ours when empty.

    `is_ready` answers within a second and never raises. `stop_s` is how long it may take to stop before it is killed.
    """

    name: str
    kind: str
    argv: tuple[str, ...]
    address: str
    log: Path
    is_ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_s: float = 10.0
    start_s: float = 60.0


def lean_environment() -> dict[str, str]:
    """Our environment, in which malloc keeps to two arenas: one per thread would hold on to what a burst has freed."""
    return {"MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1", **os.environ}


def spawn(program: Program) -> subprocess.Popen[bytes]:
    """Starts the program in a session of its own, with its output appended to its log. Raises StartError when it cannot be started."""
    program.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    turn_over(program.log)
    with program.log.open("ab") as log:
        try:
            return subprocess.Popen(  # noqa: S603 - our own argument list
                program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**lean_environment(), **program.env},
                start_new_session=True,
                cwd="/" if program.user else None,
                user=program.user or None,
                group=_group_of(program.user) if program.user else None,
                extra_groups=() if program.user else None,
            )
        except OSError as error:
            raise StartError(f"{program.name} cannot be started: {error}") from error


def turn_over(log: Path) -> None:
    """Puts a large log aside, as `NAME.log.old` in place of the one before. Done at each start; nothing grows for ever."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.old"))


def wait_ready(program: Program, process: subprocess.Popen[bytes]) -> None:
    """Waits until the program is ready. Raises StartError, with the end of its log, when it ends or takes longer than `start_s`."""
    deadline = time.monotonic() + program.start_s
    while not program.is_ready():
        if process.poll() is not None:
            raise StartError(f"{program.name} ended with code {process.returncode}.\n{log_end(program.log)}")
        if time.monotonic() > deadline:
            raise StartError(f"{program.name} is not ready after {program.start_s:g} s.\n{log_end(program.log)}")
        time.sleep(_POLL_S)


def stop(program: Program, process: subprocess.Popen[bytes]) -> None:
    """Stops the program: its stop signal first, a kill of its whole session when that takes longer than `stop_s`."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        try:
            process.wait(program.stop_s)
        except subprocess.TimeoutExpired:
            kill_session(process.pid)
            process.wait()
    kill_session(process.pid)


def kill_session(leader: int) -> None:
    """Kills what is left of the session that a program led. Nothing happens when nothing is left."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


@contextmanager
def running(program: Program) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the program for the length of the context: ready on entry, stopped on exit."""
    process = spawn(program)
    try:
        wait_ready(program, process)
        yield process
    finally:
        stop(program, process)


def log_end(log: Path, lines: int = _LOG_LINES_SHOWN) -> str:
    """The last lines of a log, with its path."""
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in text or ["(empty)"])])


def _group_of(user: str) -> int:
    import pwd  # noqa: PLC0415 - POSIX only

    return pwd.getpwnam(user).pw_gid
