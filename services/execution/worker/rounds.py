"""Whether the loops of a worker come round: one that hangs, or fails each time, does no more for its runs than one that has ended."""

import time

# Leases have run out long before; a statement that is not answered is given up after as long.
LATE_S = 5.0


class Rounds:
    """When each loop must have come round well again."""

    def __init__(self, late_s: float = LATE_S) -> None:
        self._late_s = late_s
        self._due: dict[str, float] = {}

    @property
    def are_well(self) -> bool:
        """True while no loop is late."""
        now = time.monotonic()
        return all(due > now for due in self._due.values())

    def done(self, name: str, pause_s: float = 0.0) -> None:
        """The loop begins, or a round of it has ended well and the next one comes after `pause_s`."""
        self._due[name] = time.monotonic() + pause_s + self._late_s

    def rests(self, name: str) -> None:
        """The loop has nothing to do until it is woken."""
        self._due.pop(name, None)
