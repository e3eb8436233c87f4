"""What one run may use."""

import pytest

from mesh.settings import Settings
from services.execution.engine.dataflow import start
from services.execution.engine.state import State
from services.execution.worker.limits import LimitReachedError, Limits
from tests.unit.execution.graphs import EXECUTION_ID, Journal, plan


def test_a_run_of_100_000_firings_with_several_values_each_stays_below_the_cap_and_a_cycle_does_not() -> None:
    state = State(plan({"x": ("pass", {"a": 1})}), EXECUTION_ID)
    limits = Limits(Settings.model_construct(), state)
    state.emission_count = 100_000 * 8
    limits.check(0)
    state.emission_count = 1_000_000
    with pytest.raises(LimitReachedError, match="more than 1000000 values; a cycle without an exit"):
        limits.check(0)


def test_firings_that_wait_for_values_that_never_come_do_not_fill_the_memory() -> None:
    state = State(plan({"x": ("pass", {"a": 1}), "y": ("pass", {"a": 1}), "p": "pair"}, ["x.out -> p.a", "y.out -> p.b"]), EXECUTION_ID)
    (x, _) = start(state, {})
    journal = Journal(state)
    journal.begin(x)
    limits = Limits(Settings.model_construct(max_open_firings=4), state)
    for number in range(3):
        limits.check(0)
        journal.emit(x, "out", number)
    with pytest.raises(LimitReachedError, match="more than 4 firings"):
        limits.check(0)
