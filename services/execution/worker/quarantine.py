"""Runs that kill their workers: given up after a number of tries, with a dead letter."""

import time

import asyncpg

from mesh.logs import get_logger
from services.execution.engine.events import Event, EventKind
from services.execution.engine.outcome import Outcome
from services.execution.engine.status import Status
from services.execution.lines import line_of, write_row
from services.execution.publisher import Committed, Publisher
from services.execution.repository.entries import Ending, Entry, append
from services.execution.repository.leases import Claim

_log = get_logger("execution.quarantine")

# Workers that may be lost one after the other, without a firing ending between, before a run is taken to be what kills them.
MAX_ATTEMPTS = 5
GIVEN_UP = f"given up: {MAX_ATTEMPTS} workers were lost while they ran it"
# The same where nothing shows that it was this run: its worker was lost together with all that was beside it. Enough for weeks of bad luck,
# and an end for a run that takes whole machines down.
MAX_LOSSES = 100
_LOST_TOO_OFTEN = f"given up: {MAX_LOSSES} workers in a row were lost while it was at work"


class Quarantine:
    """Ends runs that must not even be loaded any more. A run that can be loaded ends by itself, at the claim before."""

    def __init__(self, pool: asyncpg.Pool, publisher: Publisher, lease_s: float) -> None:
        self._pool = pool
        self._publisher = publisher
        self._lease_s = lease_s

    @staticmethod
    def is_due(claim: Claim) -> bool:
        """True when the worker was lost even while it tried to end the run, or workers were lost without end."""
        return claim.attempts > MAX_ATTEMPTS + 1 or claim.losses >= MAX_LOSSES

    async def end(self, claim: Claim) -> None:
        """FAILED, with the reason and a dead letter. Raises database errors: the lease runs out then and someone tries again."""
        reason = GIVEN_UP if claim.attempts > MAX_ATTEMPTS else _LOST_TOO_OFTEN
        line = line_of(Event(EventKind.EXECUTION_FAILED, time.time_ns() // 1000, error=reason), -1, 0)
        ending = Ending(Status.FAILED.name, Outcome.FAILED.name, "{}", "{}", reason, is_dead=True)
        seq = claim.last_seq + 1
        entry = Entry(claim.execution_id, claim.epoch, seq, 1, write_row([line]), is_progress=False, ending=ending)
        if await append(self._pool, [entry], self._lease_s):
            _log.error("run_given_up", execution_id=claim.execution_id, attempts=claim.attempts)
            self._publisher.add(Committed(claim.owner_id, claim.execution_id, claim.graph_id, (), seq, [line]))
