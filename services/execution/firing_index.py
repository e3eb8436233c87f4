"""Where in its journal each firing of an execution is: a fold that keeps places instead of values, so that a page of firings is found
without going through the journal again. Pure; `firings` feeds it.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.execution.engine import dataflow
from services.execution.engine.events import EventKind
from services.execution.engine.fold import apply
from services.execution.engine.plan import Plan
from services.execution.engine.state import Firing, State
from services.execution.engine.status import Status
from services.execution.lines import Line, status_after

_ENDS = frozenset({EventKind.NODE_COMPLETED, EventKind.NODE_FAILED, EventKind.NODE_TERMINATED})
_NONE = -1


@dataclass(frozen=True, slots=True)
class Place:
    """A firing's events by seq, 0 for what did not happen: its latest start, its end, and the first of its outputs.

    `live` is the firing itself while something may still become of it, or while it never started. `node` and `nth` are as in `Line`.
    """

    index: int
    node: int
    nth: int
    status: Status
    started: int
    ended: int
    outputs: Sequence[int]
    output_count: int
    live: Firing | None

    @property
    def seqs(self) -> Iterator[int]:
        """The events that tell of the firing, in order."""
        if self.started:
            yield self.started
        yield from self.outputs
        if self.ended:
            yield self.ended


class FiringIndex:
    """The places of all firings up to `seq`. About 30 bytes for each firing and 8 for each output, and what the firings hold that wait."""

    def __init__(
        self, plan: Plan, execution_id: str, inputs: Mapping[str, Any], masks: Mapping[str, Mapping[str, Any]], *, outputs_shown: int
    ) -> None:
        """`outputs_shown` is how many outputs of a firing `place` tells of at most."""
        self.state = State(plan, execution_id, masks, keeps_history=False)
        self.seq = 0
        self._outputs_shown = outputs_shown
        # By firing.
        self._node, self._nth = array("i"), array("i")
        self._started, self._ended, self._status = array("i"), array("i"), array("b")
        self._first_output, self._last_output, self._output_count = array("i"), array("i"), array("i")
        # By output: its seq, and where the next output of the same firing is.
        self._output_seq, self._next_output = array("i"), array("i")
        # First seq of each journal row.
        self._rows = array("i")
        dataflow.start(self.state, inputs)
        self._note_new()

    def __len__(self) -> int:
        return len(self._node)

    @property
    def weight(self) -> int:
        """About the bytes it takes, not counting what values hold."""
        return 30 * len(self._node) + 8 * len(self._output_seq) + 1000 * len(self.state.firings)

    def add_row(self, seq: int, lines: Sequence[Line]) -> None:
        """Takes the next row of the journal, with all values in it."""
        self._rows.append(seq)
        for line in lines:
            self.seq += 1
            apply(self.state, line.event)
            self._note(line)
            self._note_new()
        # The outputs of the run are in its row.
        self.state.results.clear()

    def of_node(self, node: int | None, first: int) -> Iterator[int]:
        """The firings, of one node if it is given, from the firing `first` on."""
        for index in range(first, len(self._node)):
            if node is None or self._node[index] == node:
                yield index

    def place(self, index: int) -> Place:
        """Where a firing is."""
        live = self.state.firings.get(index)
        return Place(
            index=index,
            node=self._node[index],
            nth=self._nth[index],
            status=Status(self._status[index]) if live is None else live.status,
            started=self._started[index],
            ended=self._ended[index],
            outputs=list(self._outputs(index)),
            output_count=self._output_count[index],
            live=live,
        )

    def row_of(self, seq: int) -> int:
        """The first seq of the journal row that holds an event."""
        return self._rows[bisect_right(self._rows, seq) - 1]

    def _outputs(self, index: int) -> Iterator[int]:
        at = self._first_output[index]
        for _ in range(min(self._output_count[index], self._outputs_shown)):
            yield self._output_seq[at]
            at = self._next_output[at]

    def _note(self, line: Line) -> None:
        index = line.firing
        if line.kind == EventKind.NODE_STARTED:
            self._started[index] = self.seq
        elif line.kind == EventKind.NODE_OUTPUT:
            at = len(self._output_seq)
            self._output_seq.append(self.seq)
            self._next_output.append(_NONE)
            if self._output_count[index]:
                self._next_output[self._last_output[index]] = at
            else:
                self._first_output[index] = at
            self._last_output[index] = at
            self._output_count[index] += 1
        elif line.kind in _ENDS:
            self._ended[index] = self.seq
            self._status[index] = status_after(EventKind(line.kind))

    def _note_new(self) -> None:
        """Firings that came to be with the newest event."""
        for index in range(len(self._node), self.state.next_index):
            firing = self.state.firings[index]
            self._node.append(firing.node.index)
            self._nth.append(firing.ordinal)
            self._status.append(firing.status)
            for zeros in (self._started, self._ended, self._first_output, self._last_output, self._output_count):
                zeros.append(0)
