"""A real Envoy with the edge's configuration, in front of hosts of the tests."""

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from mesh.contract import Method, methods
from mesh.edge.config import edge_config
from mesh.edge.encryption import secrets
from mesh.edge.policy import DEFAULT_POLICY, EdgePolicy
from mesh.edge.targets import Doors, EdgeTargets
from mesh.host import Host
from mesh.local import envoy

HOSTED = {"auth", "user", "execution", "limit"}
NOBODY = Doors("127.0.0.1:1", "127.0.0.1:1")
PATIENCE_S = 20.0


@asynccontextmanager
async def edge_before(
    host: Host,
    *,
    keys_max_age_s: int = 300,
    policy: EdgePolicy = DEFAULT_POLICY,
    cookies: Mapping[str, str] | None = None,
    **timeouts_s: float,
) -> AsyncIterator[str]:
    """`host:port` of an edge. Behind it `host` serves auth, user and execution; all others are away.

    `timeouts_s` by method name shorten what the edge grants, not what the service takes; `cookies` by method name are what they take.
    """
    with tempfile.TemporaryDirectory(prefix="edge-") as folder:
        targets = replace(_targets(host, Path(folder) / "admin.sock"), keys_max_age_s=keys_max_age_s, policy=policy)
        config = Path(folder) / "envoy.json"
        config.write_text(json.dumps(edge_config(_changed(timeouts_s, cookies or {}), targets)))
        if policy.tls is not None:
            policy.tls.secrets.write_text(json.dumps(secrets(policy.tls)))
        process = await asyncio.create_subprocess_exec(
            *(str(envoy.binary()), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await asyncio.to_thread(envoy.is_ready, targets.admin_socket):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            yield targets.listen
        finally:
            process.terminate()
            await process.wait()


def _targets(host: Host, admin_socket: Path) -> EdgeTargets:
    doors = Doors(host.grpc_address, host.http_address)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    return EdgeTargets(
        listen=listen,
        admin_socket=admin_socket,
        issuer=host.resources.settings.issuer,
        services={domain: doors if domain in HOSTED else NOBODY for domain in {method.domain for method in methods().values()}},
        gateway=doors,
    )


def _changed(timeouts_s: Mapping[str, float], cookies: Mapping[str, str]) -> Mapping[str, Method]:
    return {
        full_name: replace(method, timeout_s=timeouts_s.get(method.name, method.timeout_s), cookie=cookies.get(method.name, method.cookie))
        for full_name, method in methods().items()
    }
