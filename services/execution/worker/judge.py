"""Judges what lost workers held: it is taken from them, and each run gets its verdict.

- The first time it may go on with anyone (LOST). After a second loss without a firing ended between it is a SUSPECT (`cells.py`). At an
  ordinary worker's loss no more than that is known: there attempts never count beyond the second.
- What a cell held that died alone counts fully. What a cell held that was lost with its parent counts as not started.
- A judge never judges its own worker: it lives. What that lost sight of (the answer to a claim never came) goes on without blame.
"""

import time
from collections.abc import Iterable

from mesh.logs import get_logger
from services.execution.repository.leases import Leases
from services.execution.repository.verdicts import Verdicts
from services.execution.worker.looks import Looks

_log = get_logger("execution.judge")


class Judge:
    """The judge of one worker."""

    def __init__(self, verdicts: Verdicts, leases: Leases, worker_id: str, *, lease_s: float, sweep_s: float) -> None:
        self._verdicts = verdicts
        self._leases = leases
        self._worker_id = worker_id
        self._looks = Looks(worker_id, lease_s, sweep_s)

    async def judge(self, held: Iterable[str]) -> None:
        """Looks once at all workers that hold runs, and judges what those held that are lost. `held` are the runs at work here.

        Call it each `sweep_s`. Raises database errors.
        """
        asked = time.monotonic()
        try:
            found = await self._verdicts.look()
        except BaseException:
            self._looks.interrupt()
            raise
        answered = time.monotonic()
        if any(is_astray for seen, is_astray in found if seen.worker_id == self._worker_id):
            await self._leases.take_back(self._worker_id, held)
        lost = self._looks.add(asked, answered, [seen for seen, _ in found if seen.worker_id != self._worker_id])
        if lost:
            for worker_id, verdict, count in await self._verdicts.take(lost):
                _log.warning("worker_lost", worker_id=worker_id, verdict=verdict, executions=count)
