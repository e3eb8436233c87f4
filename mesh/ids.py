"""Ids that sort by time of creation."""

import os
import time
from uuid import UUID

_RANDOM_BITS = 80


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562) as text: milliseconds since 1970, then randomness."""
    random = int.from_bytes(os.urandom(_RANDOM_BITS // 8), "big")
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << _RANDOM_BITS | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return str(UUID(int=value))


def canonical_uuid(text: str) -> str | None:
    """The UUID in lower case with dashes, or None when `text` is not a UUID written the usual way."""
    try:
        value = str(UUID(text))
    except ValueError:
        return None
    return value if value == text.lower() else None
