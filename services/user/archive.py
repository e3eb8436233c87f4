"""An archive that is read while it is made: nobody holds it as a whole."""

import asyncio
import io
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator

# Text shrinks to a tenth already at the first level.
_LEVEL = 3


class _Pipe(io.RawIOBase):
    """What is written into it is taken out at the other end. Cannot go back, and `zipfile` does without that."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        taken = bytes(content)  # type: ignore[call-overload]  # any buffer
        self._waiting.append(taken)
        return len(taken)

    def take(self) -> bytes:
        """All that was written since the last time."""
        taken = b"".join(self._waiting)
        self._waiting.clear()
        return taken


async def zipped(pieces: AsyncIterator[tuple[str, bytes]]) -> AsyncGenerator[bytes, None]:
    """A ZIP archive of files that come in pieces, each a name and what comes next in it. The pieces of a file follow each other."""
    pipe = _Pipe()
    archive = zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
    name, member = "", None
    try:
        async for file, content in pieces:
            if member is None or file != name:
                if member is not None:
                    member.close()
                name, member = file, archive.open(file, "w", force_zip64=True)
            # In a thread: a megabyte takes long enough to hold up other calls.
            await asyncio.to_thread(member.write, content)
            if made := pipe.take():
                yield made
    finally:
        if member is not None:
            member.close()
        archive.close()
    yield pipe.take()
