"""Free TCP ports, found by really binding them.

Nothing of ours listens with SO_REUSEPORT: two servers would share a port and each would get a part of the calls. A bind without that
option is refused when anyone listens, with or without it, so it is the honest check.
"""

import socket
from collections.abc import Collection

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


def free_port(preferred: int = 0, *, host: str = LOOPBACK, avoid: Collection[int] = ()) -> int:
    """Returns `preferred` or the next free port after it; any free port when 0. Never one of `avoid`."""
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
