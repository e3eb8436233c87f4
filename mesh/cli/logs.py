"""The log files of a stack: their last lines, and those that come."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mesh.cli.output import CliError, Exit

_POLL_S = 0.2


def log_files(home: Path, name: str = "") -> list[Path]:
    """The log of a process, or all. Raises CliError (bad input), with the names that there are, when there is none."""
    known = {file.stem: file for file in sorted((home / "logs").glob("*.log"))}
    if not known:
        raise CliError(f"There are no logs in {home / 'logs'}; no stack has run there.", Exit.BAD_INPUT)
    if name and name not in known:
        raise CliError(f"There is no log {name!r}. Known: {', '.join(known)}.", Exit.BAD_INPUT)
    return [known[name]] if name else list(known.values())


def last_lines(file: Path, count: int) -> tuple[list[str], int]:
    """The last lines of a file, and where it ends, in bytes."""
    text = file.read_bytes()
    lines = text.decode(errors="replace").splitlines()
    return lines[max(0, len(lines) - count) :], len(text)


def follow_logs(positions: dict[Path, int], show: Callable[[Path, str], None]) -> NoReturn:
    """Shows whole lines as they come, from the positions on, until interrupted."""
    rests = dict.fromkeys(positions, b"")
    while True:
        for file, position in positions.items():
            if not file.exists():
                continue
            # A file that has become shorter was begun anew.
            start = position if file.stat().st_size >= position else 0
            with file.open("rb") as log:
                log.seek(start)
                text = log.read()
            positions[file] = start + len(text)
            *lines, rests[file] = (rests[file] + text).split(b"\n")
            for line in lines:
                show(file, line.decode(errors="replace"))
        time.sleep(_POLL_S)
