"""Free TCP ports, found by really binding them.

Nothing of ours listens with SO_REUSEPORT: two servers would share a port and each would get a part of the calls. A bind without that
option is refused when anyone listens, with or without it, so it is the honest check.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

from mesh.local.errors import PortTakenError

LOOPBACK = "127.0.0.1"
_PORTS_TO_TRY = 200


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """True when a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Lets ports in TIME_WAIT count as free, as servers that set it do; a listening socket still refuses.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    # Where a wildcard listener does not refuse the bind (macOS), it answers.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(0.2)
        return client.connect_ex((host, port)) != 0


def check_port(port: int, host: str = LOOPBACK) -> None:
    """Raises PortTakenError, which says why, when no server could listen on the port now."""
    if is_free(port, host):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except PermissionError:
            raise PortTakenError(f"Port {port} may not be used by this account. Choose one above 1023 with --edge-port.") from None
        except OSError:
            pass
    raise PortTakenError(f"Port {port} is taken by another program. Choose another with --edge-port, or leave it out.")


def free_port(preferred: int = 0, *, host: str = LOOPBACK, avoid: Collection[int] = ()) -> int:
    """Returns `preferred` or the next free port after it; any free port when 0 or when those are taken. Never one of `avoid`."""
    if preferred:
        for port in range(preferred, min(preferred + _PORTS_TO_TRY, 65536)):
            if port not in avoid and is_free(port, host):
                return port
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in avoid:
            return port


class Reservations:
    """Ports that one stack has chosen and that no other stack of the same user chooses, from the choice until the stack is down.

    Between the choice of a port and its first listener lie seconds, in which two stacks that start together would choose the same. The
    reservation is a lock on a file, so it ends with the process however that ends.
    """

    def __init__(self) -> None:
        """Nothing is reserved yet."""
        self._folder = Path(tempfile.gettempdir()) / f"treadle-ports-{os.getuid()}"
        self._locks: dict[Path, IO[str]] = {}

    def take(self, preferred: int) -> int:
        """Reserves `preferred` or the next port after it that is free and not reserved."""
        refused: set[int] = set()
        while True:
            port = free_port(preferred, avoid=refused)
            if self.reserve(port):
                return port
            refused.add(port)

    def reserve(self, port: int) -> bool:
        """Reserves this port. False when it is reserved already, here or by another stack."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / str(port)
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us removes its file as it ends; a lock on a removed file reserves nothing.
            if path in self._locks or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                return False
        except OSError:
            file.close()
            return False
        self._locks[path] = file
        return True

    def release(self) -> None:
        """Gives all ports back."""
        for path, file in self._locks.items():
            path.unlink(missing_ok=True)
            file.close()
        self._locks.clear()
