"""Servicers of which a test needs only a part."""

import asyncio
from typing import Any

from google.protobuf.message import Message


async def forever(*_: Any) -> Message:
    """A handler that never answers."""
    await asyncio.Event().wait()
    raise AssertionError


class Partial:
    """A servicer whose handlers never answer, but for those that it has itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return forever
