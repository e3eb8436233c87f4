"""Brings a run to where its journal stands, before a worker goes on with it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh import jsontext
from services.execution.engine import dataflow
from services.execution.engine.events import EventKind
from services.execution.engine.fold import apply
from services.execution.engine.plan import Plan
from services.execution.engine.reuse import Memo
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from services.execution.errors import DATABASE_AWAY
from services.execution.lines import Line
from services.execution.repository.journal_reads import JournalReads
from services.execution.repository.leases import Claim

_RETRY_S = 0.25
_PAGE_EVENTS = 5000
# A long journal, or one of large values, must not hold up the other runs.
_SLICE_S = 0.005


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a journal stands: firings to start, in order, and those that an earlier worker started and did not finish.

    `value_bytes` is the size of all values so far; `memo` holds what an earlier run has done, for one that goes on from it.
    """

    ready: list[Firing]
    cut_off: list[Firing]
    value_bytes: int = 0
    memo: Memo | None = None


class Replay:
    """Reads journals into states. Waits for the database."""

    def __init__(self, reads: JournalReads) -> None:
        self._reads = reads

    async def stand(self, claim: Claim, state: State) -> Standing:
        """Folds a claimed run's journal into its new state."""
        inputs = jsontext.loads(claim.inputs)
        first = dataflow.start(state, inputs)
        memo = await self._memo(claim, state.plan, inputs) if claim.retry_of else None
        if claim.last_seq == 1:
            # Just created: the one event says nothing that the row does not.
            return Standing(first, [], memo=memo)
        queued = {firing.index: firing for firing in first}
        size = seq = 0
        async for line in self._lines(claim.execution_id):
            seq += 1
            size += len(bytes(line.value))
            if memo is not None and line.kind == EventKind.NODE_STARTED:
                memo.outputs_of(state.firing(line.firing))
            for firing in apply(state, line.event):
                queued[firing.index] = firing
            if line.kind == EventKind.NODE_STARTED:
                queued.pop(line.firing, None)
        if seq < claim.last_seq:
            raise LookupError(f"the journal ends at {seq}, the row says {claim.last_seq}")
        cut_off = [firing for firing in state.firings.values() if firing.status is Status.RUNNING]
        return Standing(list(queued.values()), cut_off, size, memo)

    async def _memo(self, claim: Claim, plan: Plan, inputs: Mapping[str, Any]) -> Memo:
        state = State(plan, str(claim.retry_of), jsontext.loads(claim.input_masks))
        dataflow.start(state, inputs)
        async for line in self._lines(str(claim.retry_of)):
            apply(state, line.event)
        memo, until = Memo(), 0.0
        for firing in state.firings.values():
            memo.add(firing)
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + _SLICE_S
        return memo

    async def _lines(self, execution_id: str) -> AsyncIterator[Line]:
        seq, until = 0, 0.0
        while True:
            try:
                rows = await self._reads.events(execution_id, seq, _PAGE_EVENTS)
                pages = [await self._reads.lines(execution_id, row) for row in rows]
            except DATABASE_AWAY:
                await asyncio.sleep(_RETRY_S)
                continue
            for lines in pages:
                for line in lines:
                    yield line
                    if time.perf_counter() > until:
                        await asyncio.sleep(0)
                        until = time.perf_counter() + _SLICE_S
            if not rows:
                return
            seq = rows[-1].seq + rows[-1].count - 1
