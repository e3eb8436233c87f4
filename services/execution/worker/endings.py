"""What goes into a run's row when it ends or parks."""

from dataclasses import asdict

from mesh import jsontext
from services.execution.engine.outcome import Conclusion, child_answer, conclude
from services.execution.engine.state import State
from services.execution.repository.entries import Ending, Parking
from services.execution.repository.leases import Claim
from services.execution.worker.firings import now_us
from services.execution.worker.waiting import Waits


def ending_of(claim: Claim, state: State, error: str, *, is_dead: bool) -> Ending:
    """How the run ended, and what its parent is told if it has one."""
    end = conclude(state)
    answer = jsontext.dumps(child_answer(state, claim.execution_id)) if claim.parent_id else ""
    return Ending(end.status.name, end.outcome.name, jsontext.dumps(end.outputs), _stats(end), error, answer, is_dead)


def parking_of(state: State, waits: Waits) -> Parking:
    """How far it has come, and what wakes it."""
    end = conclude(state, state.status, now_us=now_us())
    return Parking(end.status.name, waits.next_us, waits.signals_seen, jsontext.dumps(end.outputs), _stats(end))


def _stats(end: Conclusion) -> str:
    return jsontext.dumps({**asdict(end.stats), "blocked": [asdict(blocked) for blocked in end.blocked]})
