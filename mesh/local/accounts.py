"""The account that a server runs as when we are root: PostgreSQL refuses to run as root."""

import os
import stat
from pathlib import Path

_CANDIDATES = ("postgres", "nobody")
_SEARCH = stat.S_IXGRP | stat.S_IXOTH


def server_account() -> str:
    """The account to run PostgreSQL as: empty (our own) unless we are root, else an ordinary one that every system has."""
    if os.geteuid() != 0:
        return ""
    import pwd  # noqa: PLC0415 - POSIX only

    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _CANDIDATES if name in known)


def give(path: Path, user: str) -> None:
    """Makes the directory the account's own and lets it walk there; does nothing for the empty account.

    Walking needs the search right on each directory above. Where it lacks we add just that, not the right to list.
    """
    if not user:
        return
    import pwd  # noqa: PLC0415 - POSIX only

    entry = pwd.getpwnam(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    allow_walk(path)


def allow_walk(path: Path) -> None:
    """Adds the search right to the directories above `path` that lack it."""
    for parent in path.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(mode) | _SEARCH)
