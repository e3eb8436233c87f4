"""Makes the configuration of the edge: `python -m mesh.local.edge_config`, its targets as JSON on stdin, the configuration on stdout.

A process of its own: contracts, chain and settings weigh 25 MB, which the supervisor would keep for its whole life.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mesh.edge.targets import Doors, EdgeTargets


def to_json(targets: EdgeTargets) -> str:
    """The targets as the process reads them. An empty issuer means the one of the settings, which give the limit of bodies too."""
    return json.dumps(asdict(targets), default=str)


def from_json(text: str) -> EdgeTargets:
    """The opposite."""
    document: dict[str, Any] = json.loads(text)
    return EdgeTargets(
        listen=document["listen"],
        admin_socket=Path(document["admin_socket"]),
        issuer=document["issuer"],
        services={name: Doors(**doors) for name, doors in document["services"].items()},
        gateway=Doors(**document["gateway"]),
    )


def main() -> None:
    """Reads stdin, writes stdout; with TLS also the file by which the edge finds its certificate, beside the admin socket."""
    from mesh.contract import methods  # noqa: PLC0415 - the supervisor imports this module too, and must stay light
    from mesh.edge.config import edge_config  # noqa: PLC0415
    from mesh.edge.encryption import secrets  # noqa: PLC0415
    from mesh.edge.policy import PolicyError, policy_of  # noqa: PLC0415
    from mesh.settings import Settings  # noqa: PLC0415

    targets, settings = from_json(sys.stdin.read()), Settings()
    try:
        policy = policy_of(settings, targets.admin_socket.with_name("edge-secrets.json"))
    except PolicyError as error:
        raise SystemExit(str(error)) from None
    if policy.tls is not None:
        policy.tls.secrets.write_text(json.dumps(secrets(policy.tls)))
    targets = replace(targets, issuer=targets.issuer or settings.issuer, max_body_bytes=settings.max_message_bytes, policy=policy)
    json.dump(edge_config(methods(), targets), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
