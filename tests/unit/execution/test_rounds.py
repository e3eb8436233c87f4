"""Loops that hang or fail make a worker unwell; loops that rest do not."""

import time

import pytest

from services.execution.worker.rounds import Rounds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_loop_that_does_not_come_round_in_time_is_not_well(clock: list[float]) -> None:
    rounds = Rounds(late_s=5.0)
    rounds.done("sweeps", 1.0)
    rounds.done("heartbeats", 60.0)
    clock[0] += 5.5
    assert rounds.are_well
    clock[0] += 1.0
    assert not rounds.are_well
    rounds.done("sweeps", 1.0)
    assert rounds.are_well


def test_a_loop_that_rests_is_well(clock: list[float]) -> None:
    rounds = Rounds(late_s=5.0)
    rounds.done("refills")
    rounds.rests("refills")
    clock[0] += 3600
    assert rounds.are_well
