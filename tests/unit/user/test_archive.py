"""The archive: whole for whoever reads to the end, and never held as a whole."""

import io
import os
import zipfile
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from services.user.archive import zipped


async def _pieces(*pieces: tuple[str, bytes]) -> AsyncIterator[tuple[str, bytes]]:
    for piece in pieces:
        yield piece


async def test_pieces_become_files() -> None:
    pieces = _pieces(("a/x.ndjson", b"one\n"), ("a/x.ndjson", b"two\n"), ("b/y", b""), ("b/z", b"3"))
    archive = zipfile.ZipFile(io.BytesIO(b"".join([part async for part in zipped(pieces)])))
    assert archive.testzip() is None
    assert {name: archive.read(name) for name in archive.namelist()} == {"a/x.ndjson": b"one\ntwo\n", "b/y": b"", "b/z": b"3"}


async def test_an_archive_of_nothing_is_an_archive() -> None:
    archive = zipfile.ZipFile(io.BytesIO(b"".join([part async for part in zipped(_pieces())])))
    assert archive.namelist() == []


async def test_it_flows_while_it_is_made() -> None:
    taken = 0

    async def endless() -> AsyncIterator[tuple[str, bytes]]:
        nonlocal taken
        while True:
            taken += 1
            yield "x", os.urandom(100_000)

    size = 0
    async with aclosing(zipped(endless())) as archive:
        async for part in archive:
            size += len(part)
            if size > 1_000_000:
                break
    assert taken < 20


async def test_what_a_service_fails_with_comes_out() -> None:
    async def failing() -> AsyncIterator[tuple[str, bytes]]:
        yield "x", b"1"
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - any of it
        _ = [part async for part in zipped(failing())]
