"""Looks at a process from outside."""

import http.client

from mesh.edge.targets import split

_OK = 200


def http_is_ok(address: str, path: str) -> bool:
    """True when `GET path` at `host:port` answers 200 within a second."""
    host, port = split(address)
    connection = http.client.HTTPConnection(host, port, timeout=1.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
