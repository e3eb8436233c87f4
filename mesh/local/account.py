"""The local owner: the account that the first `up` creates, with a random password in `HOME/credentials.json`."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.edge.targets import split
from mesh.local.errors import StartError
from mesh.local.keys import random_password, write_private

# A name that can never be anybody else's (RFC 2606).
OWNER_EMAIL = "owner@treadle.example"
_OK, _CONFLICT = 200, 409


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the owner signs in with."""

    email: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(email={self.email!r}, password=…)"


def read_credentials(home: Path, email: str = OWNER_EMAIL) -> Credentials | None:
    """The credentials of a local account, or None when there are none."""
    try:
        accounts = json.loads((home / "credentials.json").read_text())
        return Credentials(email, accounts[email])
    except (OSError, ValueError, KeyError):
        return None


def ensure_owner(home: Path, edge: str) -> None:
    """Registers the owner through the edge at `host:port` unless that has been done. Raises StartError when the service refuses."""
    if read_credentials(home) is not None:
        return
    password = random_password()
    status, answer = _post(edge, "/v1/auth/register", {"email": OWNER_EMAIL, "password": password, "display_name": "Owner"})
    if status == _CONFLICT:
        raise StartError(
            f"The account {OWNER_EMAIL} exists but {home / 'credentials.json'} is gone. Start anew with `treadle down --wipe`."
        )
    if status != _OK:
        raise StartError(f"The owner's account could not be made: {answer}")
    write_private(home / "credentials.json", json.dumps({OWNER_EMAIL: password}))


def _post(address: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
    host, port = split(address)
    connection = http.client.HTTPConnection(host, port, timeout=15.0)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise StartError(f"The edge does not answer: {error}") from error
    finally:
        connection.close()
