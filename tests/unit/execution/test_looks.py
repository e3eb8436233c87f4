"""When a worker that others look at counts as lost, and whose fault that is. Times are the test's own."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.execution.repository.verdicts import Lost, Seen
from services.execution.worker.looks import LOCK_GRACE_S, Looks

LEASE_S, SWEEP_S = 2.5, 0.5
THEN = datetime(2030, 1, 1, tzinfo=UTC)
WORKER = Seen("worker", THEN, has_lock=False, has_parent=False)
CELL = Seen("parent/1", THEN, has_lock=False, has_parent=True)


class Judge:
    """Looks every half second; each takes a millisecond unless told."""

    def __init__(self, worker_id: str = "judge") -> None:
        self.looks = Looks(worker_id, LEASE_S, SWEEP_S)
        self.now = 100.0

    def look(self, *found: Seen, after_s: float = SWEEP_S, takes_s: float = 0.001) -> list[Lost]:
        """The workers that are lost now."""
        self.now += after_s
        return self.looks.add(self.now, self.now + takes_s, found)

    def lost_after_s(self, *found: Seen) -> float:
        """How long it takes, from the first look, until one is lost."""
        self.look(*found)
        began = self.now
        while not self.look(*found):
            assert self.now < began + 60
        return self.now - began


def test_a_worker_without_its_lock_is_lost_soon_and_one_with_it_after_a_lease() -> None:
    assert Judge().lost_after_s(WORKER) <= LOCK_GRACE_S + SWEEP_S
    assert LEASE_S <= Judge().lost_after_s(replace(WORKER, has_lock=True, has_parent=True)) <= LEASE_S + SWEEP_S


def test_a_worker_that_renews_is_never_lost() -> None:
    judge = Judge()
    for beat in range(100):
        assert not judge.look(replace(WORKER, renewed_until=THEN + timedelta(seconds=beat // 2)))


def test_a_lock_that_comes_back_starts_the_patience_anew() -> None:
    judge = Judge()
    for _ in range(20):
        assert not judge.look(WORKER)
        assert not judge.look(replace(WORKER, has_lock=True, has_parent=True))


@pytest.mark.parametrize("gap", [{"takes_s": 4.0}, {"after_s": 4.0}])
def test_after_a_gap_between_answers_everyone_has_the_time_of_a_lease(gap: dict[str, float]) -> None:
    judge = Judge()
    judge.look(WORKER)
    assert not judge.look(WORKER, **gap)
    judge.now += gap.get("takes_s", 0)
    until = judge.now + LEASE_S
    while judge.now < until:
        assert not judge.look(WORKER) or judge.now >= until
    assert judge.look(WORKER)


def test_after_a_look_that_failed_everyone_has_the_time_of_a_lease() -> None:
    judge = Judge()
    judge.look(WORKER)
    judge.looks.interrupt()
    assert judge.lost_after_s(WORKER) >= LEASE_S


@pytest.mark.parametrize(
    ("seen", "judge", "is_blamed"),
    [
        (WORKER, "judge", True),
        (CELL, "judge", True),
        (CELL, "parent", True),
        # Both are gone.
        (replace(CELL, has_parent=False), "judge", False),
        # It stalls: only its parent knows that it did so alone.
        (replace(CELL, has_lock=True), "parent", True),
        (replace(CELL, has_lock=True), "judge", False),
    ],
)
def test_a_cell_is_blamed_when_it_was_lost_alone(seen: Seen, judge: str, is_blamed: bool) -> None:
    one = Judge(judge)
    one.lost_after_s(seen)
    assert one.look(seen) == [Lost(seen, is_blamed)]


def test_a_cells_parent_speaks_before_others() -> None:
    stalled = replace(CELL, has_lock=True)
    assert Judge("parent").lost_after_s(stalled) + LEASE_S <= Judge().lost_after_s(stalled)
