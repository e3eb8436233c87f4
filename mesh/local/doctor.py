"""Looks at the machine and says what would keep the stack from running."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mesh.local import envoy, nats, postgres, valkey
from mesh.local.errors import LocalError
from mesh.local.machine import MIN_FREE_BYTES, check_writable, disk_of
from mesh.local.ports import is_free
from mesh.local.solo import DEFAULT_EDGE_PORT
from mesh.local.state import SupervisorLock, live_state, read_state

_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    is_ok: bool
    message: str


def examine(home: Path) -> list[Finding]:
    """Everything that `treadle up` depends on."""
    home = home.resolve()
    return [
        Finding("python", sys.version_info[:2] >= _PYTHON, sys.version.split()[0]),
        _program("postgres", postgres.bin_directory),
        _program("nats", nats.binary),
        _program("cache", valkey.binary),
        _program("edge", envoy.binary),
        _disk(home),
        _rights(home),
        _port(home),
        _stack(home),
    ]


def _program(name: str, find: Callable[[], Path]) -> Finding:
    try:
        return Finding(name, True, str(find()))
    except LocalError as error:
        return Finding(name, False, str(error))


def _disk(home: Path) -> Finding:
    existing = disk_of(home)
    free = shutil.disk_usage(existing).free
    return Finding("disk", free >= MIN_FREE_BYTES, f"{free // 1024**2} MB free at {existing}")


def _rights(home: Path) -> Finding:
    try:
        check_writable(home)
    except LocalError as error:
        return Finding("rights", False, str(error))
    return Finding("rights", True, f"{home} can be written to")


def _port(home: Path) -> Finding:
    state = live_state(home)
    if state is not None and state.grpc_target:
        return Finding("port", True, f"the edge listens on {state.grpc_target}")
    if is_free(DEFAULT_EDGE_PORT):
        return Finding("port", True, f"{DEFAULT_EDGE_PORT} is free")
    return Finding("port", True, f"{DEFAULT_EDGE_PORT} is taken; `treadle up` will use the next free one")


def _stack(home: Path) -> Finding:
    if not SupervisorLock.is_held(home):
        state = read_state(home)
        left = [item.name for item in state.processes if item.is_alive] if state else []
        if left:
            return Finding("stack", False, f"the supervisor is gone but {', '.join(left)} still run; `treadle down` stops them")
        return Finding("stack", True, "not running")
    state = live_state(home)
    if state is None or not state.is_ready:
        return Finding("stack", True, "coming up or going down")
    sick = [item.name for item in state.processes if not (item.healthy and item.is_alive)]
    return Finding("stack", not sick, f"not healthy: {', '.join(sick)}" if sick else "running, every process healthy")
