"""The stack's own secrets: made once, each in a file that only its owner can read."""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """`service_key` and `master_key` are base64 of 32 bytes; the others are passwords of the servers. Never printed."""

    service_key: str
    master_key: str
    postgres: str
    nats: str
    cache: str

    def __repr__(self) -> str:
        return "Keys(…)"


def load_keys(home: Path) -> Keys:
    """Reads the secrets under `home/secrets`, making those that are not there."""
    folder = home / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Keys(
        service_key=_load(folder / "service_key", _random_key),
        master_key=_load(folder / "master_key", _random_key),
        postgres=_load(folder / "postgres", random_password),
        nats=_load(folder / "nats", random_password),
        cache=_load(folder / "cache", random_password),
    )


def random_password() -> str:
    """A password of 192 random bits, in letters and digits that need no quoting anywhere. The letter keeps it from reading as a number."""
    return "p" + secrets.token_hex(24)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)


def _random_key() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _load(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        write_private(path, make())
    return path.read_text().strip()
