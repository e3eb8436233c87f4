"""Options of the chaos test: `pytest tests/chaos --seed 7 --chaos-seconds 600`, or TREADLE_CHAOS_SEED and TREADLE_CHAOS_SECONDS."""

import os

import pytest

DEFAULT_SECONDS = 25.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options; they exist only where this folder was named to pytest."""
    parser.addoption("--seed", type=int, default=None, help="Seed of the faults and of the load; printed, random when left out")
    parser.addoption("--chaos-seconds", type=float, default=None, help="How long faults go on")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What decides who is killed when, and what is run."""
    given = request.config.getoption("--seed", default=None) or os.environ.get("TREADLE_CHAOS_SEED")
    return int(given) if given is not None else int.from_bytes(os.urandom(3))


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long faults go on."""
    given = request.config.getoption("--chaos-seconds", default=None) or os.environ.get("TREADLE_CHAOS_SECONDS")
    return float(given) if given is not None else DEFAULT_SECONDS
