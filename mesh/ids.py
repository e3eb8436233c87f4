"""Ids that sort by time of creation."""

import os
import time
from hashlib import sha1
from uuid import UUID

_RANDOM_BITS = 80


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562) as text: milliseconds since 1970, then randomness."""
    random = int.from_bytes(os.urandom(_RANDOM_BITS // 8), "big")
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << _RANDOM_BITS | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return str(UUID(int=value))


def firing_id(namespace: bytes, node_id: str, ordinal: int) -> str:
    """The id of a node's firing number `ordinal`, from 0, in an execution: the same whoever computes it. `str(uuid5(execution,
    f"{node_id}/{ordinal}"))`, three times as fast. `namespace` is the execution's id as bytes.
    """
    digest = bytearray(sha1(namespace + f"{node_id}/{ordinal}".encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def canonical_uuid(text: str) -> str | None:
    """The UUID in lower case with dashes, or None when `text` is not a UUID written the usual way."""
    try:
        value = str(UUID(text))
    except ValueError:
        return None
    return value if value == text.lower() else None
