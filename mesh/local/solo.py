"""The profile `solo`: all services in one process, a gateway, workers and the edge, on one machine and one home directory."""

import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mesh.edge.targets import Doors, EdgeTargets
from mesh.local import envoy, nats, postgres, valkey
from mesh.local.account import OWNER_EMAIL
from mesh.local.errors import PortTakenError
from mesh.local.health import http_is_ok
from mesh.local.keys import Keys
from mesh.local.ports import LOOPBACK, Reservations, check_port
from mesh.local.process import MIGRATE
from mesh.local.program import Program

SERVICES = ("auth", "user", "graph", "block", "execution", "audit", "limit")
DEFAULT_EDGE_PORT = 8080
# Below the range from which systems take ports for outgoing connections, so that nobody borrows ours during a restart.
_PORTS_FROM, _STACKS, _PORTS_PER_STACK = 20_000, 400, 30
_EXTERNAL = {"postgres": "TREADLE_DATABASE_URL", "nats": "TREADLE_NATS_URL", "cache": "TREADLE_CACHE_URL"}


@dataclass(frozen=True, slots=True)
class Options:
    """What `treadle up` was asked for. `edge_port` 0 means 8080 or the next free one; `workers` 0 means one per core, at most 2."""

    home: Path
    edge_port: int = 0
    workers: int = 0

    @property
    def worker_count(self) -> int:
        """How many workers to run."""
        return self.workers or min(os.cpu_count() or 1, 2)


class Solo:
    """Addresses, environment and programs of one stack. Making it chooses the ports; `servers` and `processes` make the programs."""

    def __init__(self, options: Options, keys: Keys, ports: Reservations) -> None:
        """Takes its ports from `ports`. Raises PortTakenError when a port that was asked for by number is taken."""
        self.options = options
        self._keys = keys
        self._home = options.home.resolve()
        self._ports = ports
        self.edge_port = self._edge_port()
        self._postgres_port, self._nats_port, self._monitor_port, self._cache_port = (self._port() for _ in range(4))
        self._services = self._doors()
        self._gateway = self._doors()
        self._workers = [self._doors() for _ in range(options.worker_count)]

    @property
    def edge_url(self) -> str:
        """Where clients go."""
        return f"http://{LOOPBACK}:{self.edge_port}"

    @property
    def postgres_port(self) -> int:
        """Port of our PostgreSQL."""
        return self._postgres_port

    def servers(self) -> list[Callable[[], Program]]:
        """Makers of the servers, less those that the environment names elsewhere. A maker may take seconds and touch the disk."""
        makers: dict[str, Callable[[], Program]] = {
            "postgres": lambda: postgres.prepare(self._home, self._postgres_port, self._keys.postgres, self._log("postgres")),
            "nats": lambda: nats.prepare(self._home, self._nats_port, self._monitor_port, self._keys.nats, self._log("nats")),
            "cache": lambda: valkey.prepare(self._home, self._cache_port, self._keys.cache, self._log("cache")),
        }
        return [make for name, make in makers.items() if not is_external(name)]

    def processes(self) -> list[Callable[[], Program]]:
        """Makers of our own processes and of the edge."""
        workers = [self._process(f"worker-{n}", "worker", ("worker",), doors) for n, doors in enumerate(self._workers, start=1)]
        ours = [
            self._process("services", "service", SERVICES, self._services, address=self._services.grpc),
            self._process("gateway", "gateway", ("gateway",), self._gateway),
            *workers,
        ]
        return [
            *(partial(_same, program) for program in ours),
            lambda: envoy.prepare(self._home, self._edge_targets(), self._log("edge")),
        ]

    def migrate_command(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """Arguments and environment of the migration run."""
        return _process_of_ours(MIGRATE), self._environment("migrate", self._services)

    def _process(self, name: str, kind: str, services: tuple[str, ...], doors: Doors, address: str = "") -> Program:
        """`address` is what is shown of it: the HTTP door unless given, which tells metrics and health of any process."""
        return Program(
            name=name,
            kind=kind,
            argv=_process_of_ours(*services),
            address=address or doors.http,
            log=self._log(name),
            is_ready=lambda: http_is_ok(doors.http, "/healthz"),
            env=self._environment(name, doors),
            stop_s=15.0,
        )

    def _environment(self, instance: str, doors: Doors) -> dict[str, str]:
        ours = {
            "TREADLE_HOME": str(self._home),
            "TREADLE_INSTANCE": instance,
            "TREADLE_GRPC_ADDRESS": doors.grpc,
            "TREADLE_HTTP_ADDRESS": doors.http,
            "TREADLE_DEFAULT_TARGET": self._services.grpc,
            "TREADLE_DATABASE_URL": postgres.url(self._postgres_port, self._keys.postgres),
            "TREADLE_NATS_URL": nats.url(self._nats_port, self._keys.nats),
            "TREADLE_CACHE_URL": valkey.url(self._cache_port, self._keys.cache),
            "TREADLE_SERVICE_KEY": self._keys.service_key,
            "TREADLE_MASTER_KEY": self._keys.master_key,
            "TREADLE_OWNER_EMAIL": OWNER_EMAIL,
            "TREADLE_PUBLIC_URL": self.edge_url,
            "TREADLE_MAIL_FOLDER": str(self._home / "mail"),
            # The stack's own edge is the one local address that a block may call.
            "TREADLE_HTTP_BLOCK_ALLOW_HOSTS": ",".join(
                filter(None, [os.environ.get("TREADLE_HTTP_BLOCK_ALLOW_HOSTS"), self._edge_address])
            ),
        }
        kept = {_EXTERNAL[name] for name in _EXTERNAL if is_external(name)}
        return {name: value for name, value in ours.items() if name not in kept}

    @property
    def _edge_address(self) -> str:
        return f"{LOOPBACK}:{self.edge_port}"

    def _edge_targets(self) -> EdgeTargets:
        return EdgeTargets(
            listen=self._edge_address,
            admin_socket=envoy.admin_socket(self._home),
            issuer="",
            services=dict.fromkeys(SERVICES, self._services),
            gateway=self._gateway,
        )

    def _log(self, name: str) -> Path:
        return self._home / "logs" / f"{name}.log"

    def _edge_port(self) -> int:
        wanted = self.options.edge_port
        if not wanted:
            return self._ports.take(DEFAULT_EDGE_PORT)
        check_port(wanted)
        if not self._ports.reserve(wanted):
            raise PortTakenError(f"Port {wanted} is another stack's. Choose another with --edge-port, or leave it out.")
        return wanted

    def _port(self) -> int:
        stack = zlib.crc32(str(self._home).encode()) % _STACKS
        return self._ports.take(_PORTS_FROM + stack * _PORTS_PER_STACK)

    def _doors(self) -> Doors:
        return Doors(grpc=f"{LOOPBACK}:{self._port()}", http=f"{LOOPBACK}:{self._port()}")


def _same(program: Program) -> Program:
    return program


def is_external(server: str) -> bool:
    """True when the environment names a server that is run elsewhere."""
    return bool(os.environ.get(_EXTERNAL[server]))


def _process_of_ours(*names: str) -> tuple[str, ...]:
    # -P: what lies in the directory where somebody types `treadle up` is none of our modules.
    return (sys.executable, "-P", "-m", "mesh.local.process", *names)
