"""The table of allowed moves is the platform's, and WAITING beside it."""

import json
from pathlib import Path

import pytest
from treadle.execution.v1 import execution_service_pb2 as pb

from services.execution.engine.status import SOURCES, IllegalTransitionError, Status, move

DATA = Path(__file__).parents[2] / "data" / "semantics" / "status_transitions.json"


def test_the_table_is_that_of_the_platform() -> None:
    expected = json.loads(DATA.read_text())
    known = {target: sources - {Status.WAITING} for target, sources in SOURCES.items() if target is not Status.WAITING}
    assert {target.name: sorted(source.name for source in sources) for target, sources in known.items() if sources} == {
        target: sorted(sources) for target, sources in expected.items()
    }


def test_a_firing_waits_only_from_work_and_goes_back_to_work_or_ends() -> None:
    assert SOURCES[Status.WAITING] == {Status.RUNNING}
    assert {target for target, sources in SOURCES.items() if Status.WAITING in sources} == {
        Status.RUNNING,
        Status.FAILED,
        Status.TERMINATED,
    }


@pytest.mark.parametrize("source", Status)
@pytest.mark.parametrize("target", Status)
def test_a_move_that_the_table_lacks_is_an_error(source: Status, target: Status) -> None:
    if source in SOURCES[target]:
        assert move(source, target) is target
    else:
        with pytest.raises(IllegalTransitionError):
            move(source, target)


def test_numbers_are_those_of_the_contract() -> None:
    assert {f"EXECUTION_STATUS_{status.name}": status.value for status in Status} == {
        name: number for name, number in pb.ExecutionStatus.items() if number
    }
