"""What waits to be sent on one socket: bounded in frames and characters, so a slow reader costs bounded memory."""

import asyncio
from collections import deque

MAX_FRAMES = 512
MAX_CHARS = 1024 * 1024


class Outbox:
    """A queue of frames between the channels of a socket and its writer."""

    def __init__(self, max_frames: int = MAX_FRAMES, max_chars: int = MAX_CHARS) -> None:
        """A frame longer than `max_chars` still fits into an empty box."""
        self._max_frames = max_frames
        self._max_chars = max_chars
        self._frames: deque[str] = deque()
        self._chars = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()

    async def put(self, frame: str) -> None:
        """Adds a frame; waits while the box is full."""
        while self._is_full():
            self._drained.clear()
            await self._drained.wait()
        self._frames.append(frame)
        self._chars += len(frame)
        self._filled.set()

    async def get(self) -> str:
        """Takes the oldest frame; waits for one."""
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        frame = self._frames.popleft()
        self._chars -= len(frame)
        if not self._is_full():
            self._drained.set()
        return frame

    def _is_full(self) -> bool:
        return len(self._frames) >= self._max_frames or self._chars >= self._max_chars
