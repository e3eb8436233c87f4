"""Who is lost: told from how a judge sees workers over time, on its own clock.

A worker is lost when it has stayed the same for a while although the database answered well: no lease of it was renewed. The while is short
when its lock is gone (it is dead, or cut off for a moment), else the life of a lease. After a gap between answers all begins anew: whatever
kept them from us may have kept others from renewing.

Only a cell (`cells.py`) that dies alone shows something about its runs: nobody knows why an ordinary worker died, or a cell together with
its parent.
"""

from collections.abc import Iterable

from services.execution.repository.verdicts import Lost, Seen

# A worker whose lock is gone and that lives renews its leases within this time.
LOCK_GRACE_S = 1.0


class Looks:
    """The looks of one judge, in order. Pure: times (in seconds, of one monotonic clock) are given."""

    def __init__(self, worker_id: str, lease_s: float, sweep_s: float) -> None:
        """`worker_id` is the judge's; `sweep_s` lie between its looks."""
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._longest_gap_s = sweep_s + lease_s / 2
        self._answered: float | None = None
        self._is_after_gap = False
        # Since when each was seen as it is, and how long that must last.
        self._still: dict[Seen, tuple[float, float]] = {}

    def interrupt(self) -> None:
        """A look has failed."""
        self._still, self._is_after_gap = {}, True

    def add(self, asked: float, answered: float, found: Iterable[Seen]) -> list[Lost]:
        """Takes what the look from `asked` to `answered` found. Returns the workers that are lost by now."""
        if self._answered is not None and answered - self._answered > self._longest_gap_s:
            self.interrupt()
        self._answered = answered
        before, is_after_gap, self._is_after_gap = self._still, self._is_after_gap, False
        self._still = {seen: before.get(seen) or (answered, self._patience_s(seen, is_after_gap=is_after_gap)) for seen in found}
        return [Lost(seen, self._is_blamed(seen)) for seen, (since, patience_s) in self._still.items() if asked - since >= patience_s]

    def _patience_s(self, seen: Seen, *, is_after_gap: bool) -> float:
        if seen.has_lock and seen.is_cell and not seen.is_cell_of(self._worker_id):
            # Its parent, if that lives, says who is to blame.
            return 2 * self._lease_s
        return self._lease_s if seen.has_lock or is_after_gap else min(LOCK_GRACE_S, self._lease_s)

    def _is_blamed(self, seen: Seen) -> bool:
        if not seen.is_cell:
            return True
        # One that stalls may have been stopped together with its parent: only the parent knows that it was not.
        return seen.is_cell_of(self._worker_id) if seen.has_lock else seen.has_parent
