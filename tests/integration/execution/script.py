"""Journals written by hand, for tests of what callers see and do without a worker."""

import json
import time
from collections.abc import Sequence
from typing import Any

from mesh import jsontext
from services.block.sdk import BlockRegistry
from services.execution.engine import dataflow
from services.execution.engine.events import NO_FIRING, Event, EventKind
from services.execution.engine.fold import apply
from services.execution.engine.state import Firing, State
from services.execution.lines import MAX_INLINE_BYTES, Line, line_of, set_apart, write_row
from services.execution.snapshots import Snapshots
from tests.integration.execution.conftest import Lab


class Script:
    """Writes what a worker would have: each step folds an event, `commit` writes them all as one row."""

    def __init__(self, lab: Lab, execution_id: str, state: State, ready: Sequence[Firing]) -> None:
        self._lab = lab
        self.execution_id = execution_id
        self.state = state
        self.ready = list(ready)
        self._seq = 1
        self._lines: list[Line] = []

    @classmethod
    async def of(cls, lab: Lab, execution_id: str) -> "Script":
        """Goes on after the first event of an execution that no worker has taken."""
        row = await lab.pool.fetchrow("SELECT graph_id, graph_version, inputs FROM execution WHERE id = $1", execution_id)
        assert row is not None
        snapshot = await Snapshots(lab.repository, BlockRegistry.installed()).get(row["graph_id"], row["graph_version"])
        state = State(snapshot.plan, execution_id, {})
        script = cls(lab, execution_id, state, dataflow.start(state, jsontext.loads(row["inputs"])))
        script.add(EventKind.EXECUTION_STARTED)
        return script

    def add(self, kind: EventKind, firing: Firing | None = None, *, ordinal: int = 0, pin: str = "", value: Any = None) -> None:
        """One event."""
        event = Event(kind, time.time_ns() // 1000, NO_FIRING if firing is None else firing.index, ordinal, pin, value)
        self.ready += apply(self.state, event)
        self._lines.append(line_of(event, -1, 0) if firing is None else line_of(event, firing.node.index, firing.ordinal))

    def run(self, *outputs: tuple[str, Any]) -> Firing:
        """The first ready firing runs to its end."""
        firing = self.start()
        for at, (pin, value) in enumerate(outputs):
            self.add(EventKind.NODE_OUTPUT, firing, ordinal=at, pin=pin, value=value)
        self.add(EventKind.NODE_COMPLETED, firing)
        return firing

    def start(self) -> Firing:
        """The first ready firing starts."""
        firing = self.ready.pop(0)
        self.add(EventKind.NODE_STARTED, firing, value=dict(firing.inputs))
        return firing

    async def commit(self, *, status: str = "RUNNING", worker_id: str = "") -> None:
        """Writes the events, large values apart, and where the run stands; parked unless a worker has it."""
        written: list[Line] = []
        for line in self._lines:
            if len(bytes(line.value)) > MAX_INLINE_BYTES:
                lean, content = set_apart(line)
                await self._lab.pool.execute(
                    "INSERT INTO execution_value VALUES ($1, $2, $3, $4)", self.execution_id, lean.ref, len(content.encode()), content
                )
                written.append(lean)
            else:
                written.append(line)
        insert = "INSERT INTO execution_event (execution_id, seq, count, events) VALUES ($1, $2, $3, $4)"
        await self._lab.pool.execute(insert, self.execution_id, self._seq + 1, len(written), write_row(written))
        self._seq += len(written)
        self._lines = []
        is_over = status in {"COMPLETED", "FAILED", "TERMINATED"}
        stats = json.dumps({"node_count": self.state.ended_count, "node_error_count": self.state.failed_count})
        await self._lab.pool.execute(
            """UPDATE execution SET status = $2, worker_id = $3, last_seq = $4, stats = $5, end_time = CASE WHEN $6 THEN now() END,
                wake_time = CASE WHEN NOT $6 THEN wake_time END
            WHERE id = $1""",
            self.execution_id,
            status,
            worker_id,
            self._seq,
            stats,
            is_over,
        )
