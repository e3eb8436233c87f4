"""What the machine must have before a stack can start."""

import os
import shutil
from pathlib import Path

from mesh.local import envoy, nats, postgres, valkey
from mesh.local.errors import LocalError
from mesh.local.solo import is_external

MIN_FREE_BYTES = 500 * 1024 * 1024


def check_machine(home: Path) -> None:
    """Raises LocalError when a program is missing, the disk is nearly full, or `home` cannot be written to."""
    for name, find in {"postgres": postgres.bin_directory, "nats": nats.binary, "cache": valkey.binary}.items():
        if not is_external(name):
            find()
    envoy.binary()
    check_writable(home)
    free = shutil.disk_usage(disk_of(home)).free
    if free < MIN_FREE_BYTES:
        raise LocalError(f"Only {free // 1024**2} MB are free on the disk of {home}; the stack needs {MIN_FREE_BYTES // 1024**2} MB.")


def check_writable(home: Path) -> None:
    """Raises LocalError when `home` is no directory or we may not write there."""
    existing = disk_of(home)
    if not existing.is_dir():
        raise LocalError(f"{existing} is not a directory. Choose another with --home.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise LocalError(f"{existing} cannot be written to. Choose another directory with --home.")


def disk_of(home: Path) -> Path:
    """`home`, or the nearest directory above that exists."""
    return next(path for path in (home.resolve(), *home.resolve().parents) if path.exists())
