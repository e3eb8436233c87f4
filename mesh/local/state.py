"""What the supervisor tells the commands: `HOME/state.json`, rewritten whole on each change, and a lock that is held while it lives."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import psutil

_CLOCK_TOLERANCE_S = 1.0


@dataclass(slots=True)
class ProcessState:
    """One process. `created` is its start time in seconds since the epoch: a pid alone may have passed to another program."""

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


def find_process(pid: int, created: float) -> psutil.Process | None:
    """The process with this pid and start time, unless it has ended."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) > _CLOCK_TOLERANCE_S or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


class SupervisorLock:
    """Held by the supervisor for its whole life; the system frees it however the supervisor ends."""

    def __init__(self, home: Path) -> None:
        """The lock of the stack in `home`."""
        self._path = home / "supervisor.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Takes the lock. False when another supervisor has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            return False
        # A child that inherited it would keep the lock after the supervisor's end.
        os.set_inheritable(self._file.fileno(), False)
        return True

    def release(self) -> None:
        """Gives the lock back."""
        if self._file is not None:
            self._file.close()

    @staticmethod
    def is_held(home: Path) -> bool:
        """True while a supervisor lives. Looks only; leaves no file."""
        if not (home / "supervisor.lock").exists():
            return False
        lock = SupervisorLock(home)
        if not lock.acquire():
            return True
        lock.release()
        return False
