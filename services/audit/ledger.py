"""What keeps the log honest: each record's hash covers its text and the hash before it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# What stands before the first record.
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in its place. `body` is its text, `hash` 64 hexadecimal digits."""

    seq: int
    hash: str
    body: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log and the hash there."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the log is what was written. `broken_seq` is the first record that is not, or that is missing; 0 when all are there."""

    checked: int
    broken_seq: int
    head: Mark

    @property
    def is_intact(self) -> bool:
        """True when nothing is wrong."""
        return self.broken_seq == 0


def hash_of(before: str, body: str) -> str:
    """The hash of a record after one with the hash `before`."""
    return hashlib.sha256((before + body).encode()).hexdigest()


def linked(after: Mark, bodies: Iterable[str]) -> Sequence[Entry]:
    """New records in their places."""
    entries: list[Entry] = []
    for body in bodies:
        after = Mark(after.seq + 1, hash_of(after.hash, body))
        entries.append(Entry(after.seq, after.hash, body))
    return entries


class Verification:
    """Takes the log from its first record on, page by page, and says what is wrong with it."""

    def __init__(self, cut: Mark, known: Mark | None = None) -> None:
        """`cut` stands before the first record that is kept; `known` is what somebody wrote down of the log earlier."""
        self._last = cut
        self._known = known
        self._checked = 0
        self._broken_seq = 0
        # Of what is not kept any more, only the last one can be compared.
        self._compare(cut)

    def take(self, entries: Iterable[Entry]) -> bool:
        """Looks at the next records; False when one is not what was written, and there is no point in going on."""
        for entry in entries:
            expected = Mark(self._last.seq + 1, hash_of(self._last.hash, entry.body))
            if (entry.seq, entry.hash) != (expected.seq, expected.hash):
                self._broken_seq = self._broken_seq or expected.seq
            self._last = expected
            self._checked += 1
            self._compare(expected)
            if self._broken_seq:
                return False
        return True

    def verdict(self, head: Mark) -> Verdict:
        """What it comes to, once all records were taken; `head` is the newest one that was written."""
        broken_seq = self._broken_seq
        if not broken_seq and self._last != head:
            broken_seq = min(self._last.seq, head.seq) + 1
        if not broken_seq and self._known is not None and self._known.seq > head.seq:
            broken_seq = head.seq + 1
        return Verdict(self._checked, broken_seq, head)

    def _compare(self, mark: Mark) -> None:
        if self._known is not None and self._known.seq == mark.seq and self._known.hash != mark.hash:
            self._broken_seq = self._broken_seq or max(mark.seq, 1)
