"""What the supervisor tells the commands: `HOME/state.json`, rewritten whole on each change, and a lock that is held while it lives."""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import psutil

_PROC = Path("/proc")
# Place of `starttime` in /proc/PID/stat after the name.
_START_FIELD = 19
_ACQUIRE_S = 0.5
_ACQUIRE_POLL_S = 0.01


@dataclass(slots=True)
class ProcessState:
    """One process. `created` is its `start_mark`: a pid alone may have passed to another program."""

    name: str
    kind: str
    pid: int
    healthy: bool
    restarts: int
    address: str
    created: float = 0.0

    @property
    def is_alive(self) -> bool:
        """True while this very process runs."""
        return find_process(self.pid, self.created) is not None


@dataclass(slots=True)
class StackState:
    """The whole stack. `progress` grows by a line as each component comes up; `error` says why a start failed."""

    home: str
    profile: str = "solo"
    edge_url: str = ""
    grpc_target: str = ""
    supervisor_pid: int = 0
    is_ready: bool = False
    error: str = ""
    progress: list[str] = field(default_factory=list)
    processes: list[ProcessState] = field(default_factory=list)


def state_path(home: Path) -> Path:
    """The file of the state."""
    return home / "state.json"


def read_state(home: Path) -> StackState | None:
    """The last state written, or None when there is none that can be read."""
    try:
        document = json.loads(state_path(home).read_text())
        processes = [ProcessState(**item) for item in document.pop("processes")]
        return StackState(**document, processes=processes)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_state(home: Path, state: StackState) -> None:
    """Replaces the state file. Raises OSError when the disk refuses."""
    path = state_path(home)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(state), indent=1))
    temporary.replace(path)


def live_state(home: Path) -> StackState | None:
    """The state of the stack that runs in `home`; None when none runs, or while its supervisor has told nothing yet."""
    pid = SupervisorLock.holder(home)
    state = read_state(home) if pid else None
    # What a supervisor before this one left behind says nothing of today.
    return state if state is not None and state.supervisor_pid == pid else None


def find_process(pid: int, created: float) -> psutil.Process | None:
    """The process with this pid and `start_mark`, unless it has ended."""
    try:
        process = psutil.Process(pid)
        if start_mark(pid) != created or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


def start_mark(pid: int) -> float:
    """Tells a process from others that had its pid before; 0 when there is none.

    On Linux the clock ticks from the start of the machine to its own: unlike the time of day, nobody sets that clock.
    """
    try:
        if _PROC.is_dir():
            # The name, in parentheses, may hold anything.
            return float((_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[_START_FIELD])
        return psutil.Process(pid).create_time()
    except (OSError, IndexError, psutil.Error):
        return 0.0


class SupervisorLock:
    """Held by the supervisor for its whole life; the system frees it however the supervisor ends. The file names the holder's pid.

    Whoever starts a supervisor takes the lock and hands it over, so that of two that start at once only one does.
    """

    def __init__(self, home: Path, handed_over: int | None = None) -> None:
        """The lock of the stack in `home`; with `handed_over`, the descriptor of one that is held already."""
        self._path = home / "supervisor.lock"
        self._file: IO[str] | None = os.fdopen(handed_over, "a") if handed_over is not None else None
        if handed_over is not None:
            # A child that inherited it would keep the lock after the supervisor's end.
            os.set_inheritable(handed_over, False)

    def acquire(self) -> bool:
        """Takes the lock, unless this object has it. False when another supervisor has it."""
        if self._file is not None:
            return True
        file = self._path.open("a")
        deadline = time.monotonic() + _ACQUIRE_S
        while not _flock(file, fcntl.LOCK_EX):
            # A look at the lock (`is_held`) holds it for an instant.
            if time.monotonic() > deadline:
                file.close()
                return False
            time.sleep(_ACQUIRE_POLL_S)
        self._file = file
        self.name(os.getpid())
        return True

    def name(self, pid: int) -> None:
        """Writes down who holds it. Raises OSError when the disk refuses."""
        assert self._file is not None  # noqa: S101 - only a holder calls
        self._file.truncate(0)
        self._file.write(str(pid))
        self._file.flush()

    def fileno(self) -> int:
        """The descriptor that is handed over."""
        assert self._file is not None  # noqa: S101 - only a holder calls
        return self._file.fileno()

    def release(self) -> None:
        """Gives the lock back, or leaves it to the process that it was handed to."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def is_held(home: Path) -> bool:
        """True while a supervisor lives. Looks only; leaves no file."""
        try:
            with (home / "supervisor.lock").open() as file:
                return not _flock(file, fcntl.LOCK_SH)
        except (FileNotFoundError, NotADirectoryError):
            return False

    @staticmethod
    def holder(home: Path) -> int:
        """Pid of the supervisor that lives; 0 when none does."""
        if not SupervisorLock.is_held(home):
            return 0
        text = (home / "supervisor.lock").read_text()
        return int(text) if text.isdigit() else 0


def _flock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
