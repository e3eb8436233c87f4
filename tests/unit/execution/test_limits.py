"""What one run may use."""

import pytest

from mesh.settings import Settings
from services.execution.engine.state import State
from services.execution.worker.limits import LimitReachedError, Limits
from tests.unit.execution.graphs import EXECUTION_ID, plan


def test_a_run_of_100_000_firings_with_several_values_each_stays_below_the_cap_and_a_cycle_does_not() -> None:
    state = State(plan({"x": ("pass", {"a": 1})}), EXECUTION_ID)
    limits = Limits(Settings.model_construct(), state)
    state.emission_count = 100_000 * 8
    limits.check(0)
    state.emission_count = 1_000_000
    with pytest.raises(LimitReachedError, match="more than 1000000 values; a cycle without an exit"):
        limits.check(0)
