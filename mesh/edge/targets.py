"""Where the edge finds what it routes to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mesh.edge.policy import DEFAULT_POLICY, EdgePolicy
from mesh.limits import MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Doors:
    """The two doors of one process, each `host:port`."""

    grpc: str
    http: str


@dataclass(frozen=True, slots=True)
class EdgeTargets:
    """What the edge listens on and routes to.

    `services` maps a domain (`graph`) to the doors of the process that serves it. `listen` is `host:port`; `admin_socket` a Unix socket
    that only its owner can use. `issuer` is what access tokens must name. `max_body_bytes` is the limit of the doors behind it.
    """

    listen: str
    admin_socket: Path
    issuer: str
    services: Mapping[str, Doors]
    gateway: Doors
    # How long the edge keeps the published keys; a new key must be published longer than this before it signs.
    keys_max_age_s: int = 300
    max_body_bytes: int = MAX_MESSAGE_BYTES
    policy: EdgePolicy = DEFAULT_POLICY


def split(address: str) -> tuple[str, int]:
    """Takes `host:port` apart."""
    host, _, port = address.rpartition(":")
    return host, int(port)
