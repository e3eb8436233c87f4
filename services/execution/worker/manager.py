"""ExecutionManager: the runs that this worker holds, one actor each."""

import asyncio
import os
from collections.abc import Iterable

from mesh import jsontext
from mesh.errors import TreadleError
from mesh.logs import get_logger
from mesh.tasks import end
from services.execution.engine.state import State
from services.execution.errors import DATABASE_AWAY
from services.execution.publisher import Publisher
from services.execution.repository.leases import Claim
from services.execution.snapshots import Snapshot, Snapshots
from services.execution.worker.journal import Journal
from services.execution.worker.recorder import Recorder
from services.execution.worker.replay import Replay
from services.execution.worker.run import Run
from services.execution.worker.tools import Tools

_log = get_logger("execution.manager")

_LOAD_RETRY_S = 0.25


class _Held:
    """A claimed execution, from the claim to the end of its actor."""

    __slots__ = ("claim", "is_cancelled", "is_lost", "run", "task")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.run: Run | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_cancelled = False
        self.is_lost = False


class ExecutionManager:
    """Runs what is accepted, at most `settings.worker_slots` at a time by the dispatcher's care."""

    def __init__(
        self,
        *,
        replay: Replay,
        snapshots: Snapshots,
        journal: Journal,
        publisher: Publisher,
        tools: Tools,
    ) -> None:
        self._replay = replay
        self._snapshots = snapshots
        self._journal = journal
        self._publisher = publisher
        self._tools = tools
        self._settings = tools.settings
        self._held: dict[str, _Held] = {}
        self._handed_over: list[tuple[str, int]] = []
        self._is_stopping = False
        self.slot_freed = asyncio.Event()

    @property
    def free(self) -> int:
        """Executions that may be accepted now."""
        return 0 if self._is_stopping else max(self._settings.worker_slots - len(self._held), 0)

    @property
    def held(self) -> list[tuple[str, int]]:
        """The executions whose leases this worker holds, as (id, epoch)."""
        return [(held.claim.execution_id, held.claim.epoch) for held in self._held.values()]

    def accept(self, claims: Iterable[Claim]) -> None:
        """Starts the actors of claimed executions."""
        for claim in claims:
            before = self._held.get(claim.execution_id)
            if before is not None:
                # Our own lease ran out and we claimed it again: the old actor is fenced off, as any other worker would be.
                _lose(before)
            held = self._held[claim.execution_id] = _Held(claim)
            self._tools.meters.runs_held = len(self._held)
            held.task = asyncio.create_task(self._host(held), name=f"run {claim.execution_id}")

    def cancel(self, execution_id: str) -> None:
        """Stops an execution, if it is here."""
        held = self._held.get(execution_id)
        if held is not None:
            held.is_cancelled = True
            if held.run is not None:
                held.run.cancel()

    def signal(self, execution_id: str) -> None:
        """An answer has come for an execution; it reads it, if it is here."""
        held = self._held.get(execution_id)
        if held is not None and held.run is not None:
            held.run.signal()

    def lose(self, execution_id: str) -> None:
        """Drops an execution whose lease is another's."""
        held = self._held.get(execution_id)
        if held is not None:
            _lose(held)

    async def stop(self, grace_s: float) -> list[tuple[str, int]]:
        """Lets go of all runs, so that others may take them. Firings that may not be repeated get `grace_s` to end. Returns the leases."""
        self._is_stopping = True
        for held in list(self._held.values()):
            if held.run is not None:
                held.run.stop()
        tasks = [held.task for held in self._held.values() if held.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            self._handed_over += self.held
            await end(*late)
        return self._handed_over

    async def _host(self, held: _Held) -> None:
        claim = held.claim
        recorder: Recorder | None = None
        try:
            snapshot = await self._load_surely(held)
            if snapshot is None:
                return
            state = State(snapshot.plan, claim.execution_id, jsontext.loads(claim.input_masks), keeps_history=False)
            recorder = Recorder(claim, state, snapshot.names.nodes, self._journal, self._publisher)
            standing = await self._replay.stand(claim, state)
            recorder.recorded_bytes = standing.value_bytes
            held.run = Run(claim, state, recorder, standing, self._tools)
            if held.is_cancelled:
                held.run.cancel()
            if held.is_lost:
                held.run.lose()
            if self._is_stopping:
                held.run.stop()
            if await held.run.main():
                self._handed_over.append((claim.execution_id, claim.epoch))
        except Exception as error:  # noqa: BLE001,RUF100 - one run's fault must not touch the others
            await self._fail(claim, recorder, error)
        finally:
            if self._held.get(claim.execution_id) is held:
                del self._held[claim.execution_id]
            self._tools.meters.runs_held = len(self._held)
            self.slot_freed.set()

    async def _load_surely(self, held: _Held) -> Snapshot | None:
        """The graph version; None when the run was lost, or we stop, before the database answered."""
        while not held.is_lost and not self._is_stopping:
            try:
                return await self._snapshots.get(*held.claim.snapshot)
            except DATABASE_AWAY:
                await asyncio.sleep(_LOAD_RETRY_S)
        self._handed_over.append((held.claim.execution_id, held.claim.epoch))
        return None

    async def _fail(self, claim: Claim, recorder: Recorder | None, error: Exception) -> None:
        """A fault of ours, or a graph that cannot run: the run ends as FAILED, and the truth goes to the log."""
        error_id = os.urandom(6).hex()
        _log.error("run_broke", execution_id=claim.execution_id, error_id=error_id, exc_info=error)
        text = error.message if isinstance(error, TreadleError) else f"internal error {error_id}"
        if recorder is None:
            recorder = Recorder(claim, None, (), self._journal, self._publisher)
        recorder.abandon(text)
        await recorder.settle()


def _lose(held: _Held) -> None:
    held.is_lost = True
    if held.run is not None:
        held.run.lose()
