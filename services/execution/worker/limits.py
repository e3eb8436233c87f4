"""What one run may use. A run that wants more fails, and says which limit it hit."""

from mesh.settings import Settings
from services.execution.engine.state import State


class LimitReachedError(Exception):
    """The run hit one of its limits; the message says which."""


class Limits:
    """The limits of one run."""

    def __init__(self, settings: Settings, state: State) -> None:
        self._state = state
        self._max_emissions = settings.max_emissions
        self._max_open_firings = settings.max_open_firings
        self._max_value_bytes = settings.max_value_bytes
        self._max_run_s = settings.max_run_s

    def check(self, recorded_bytes: int) -> None:
        """Before an output, with the size of all values so far. Raises LimitReachedError."""
        if self._state.emission_count >= self._max_emissions:
            raise LimitReachedError(f"the run emitted more than {self._max_emissions} values; a cycle without an exit?")
        if len(self._state.firings) > self._max_open_firings:
            raise LimitReachedError(f"more than {self._max_open_firings} firings of the run wait for values or for their turn")
        if recorded_bytes > self._max_value_bytes:
            raise LimitReachedError(f"the values of the run hold more than {self._max_value_bytes} bytes")

    def left_s(self, now_us: int) -> float:
        """How long the run may still be at work; the time that it was parked does not count."""
        state = self._state
        return self._max_run_s - (now_us - state.started_us - state.paused_us) / 1e6

    @property
    def too_long(self) -> LimitReachedError:
        """How a run ends that was at work too long."""
        return LimitReachedError(f"the run was at work longer than {self._max_run_s:g} s")
