"""Explains executions: folds the journal with its history once and keeps what was found, as long as it cannot change."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from treadle.execution.v1 import execution_service_pb2 as pb

from mesh import jsontext
from services.execution.engine import dataflow
from services.execution.engine.explain import NodeExplanation, PinExplanation, explain_nodes
from services.execution.engine.fold import apply
from services.execution.engine.state import State
from services.execution.errors import node_not_found
from services.execution.history import ENDED
from services.execution.repository.executions import ExecutionRepository, Record
from services.execution.snapshots import Snapshots

MAX_KEPT = 64
# A message has 4 MiB; a graph whose explanation is larger is explained without values.
MAX_BYTES = 2 * 1024 * 1024
_FOLD_EVENTS = 5000


class Explanations:
    """Says why nodes fired as they did. Callers have made sure that the execution is the owner's."""

    def __init__(self, repository: ExecutionRepository, snapshots: Snapshots) -> None:
        self._repository = repository
        self._snapshots = snapshots
        self._kept: OrderedDict[str, Sequence[NodeExplanation]] = OrderedDict()
        # The whole history of a long run takes much memory: one at a time.
        self._folding = asyncio.Lock()

    async def of(self, record: Record, node_id: str) -> list[pb.NodeExplanation]:
        """The nodes in the order of the graph, or the one that is named. Raises NotFoundError (NODE_NOT_FOUND)."""
        nodes = self._kept.get(record.id)
        if nodes is None:
            async with self._folding:
                nodes = self._kept.get(record.id) or await self._explain(record)
        found = [_message(node) for node in nodes if node_id in ("", node.node_id)]
        if node_id and not found:
            raise node_not_found(node_id)
        if sum(message.ByteSize() for message in found) > MAX_BYTES:
            for message in found:
                _leave_values_out(message)
        return found

    async def _explain(self, record: Record) -> Sequence[NodeExplanation]:
        state = await self._folded(record)
        # Going through a long history takes a while; nobody else has this state.
        nodes = await asyncio.to_thread(explain_nodes, state)
        if record.status in ENDED:
            self._kept[record.id] = nodes
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return nodes

    async def _folded(self, record: Record) -> State:
        snapshot = await self._snapshots.get(*record.snapshot)
        state = State(snapshot.plan, record.id, jsontext.loads(record.input_masks))
        dataflow.start(state, jsontext.loads(record.inputs))
        seq = 0
        while seq < record.last_seq and (rows := await self._repository.events(record.id, seq, _FOLD_EVENTS)):
            for row in rows:
                for line in await self._repository.lines(record.id, row):
                    apply(state, line.event)
                # A long journal must not hold up the other calls.
                await asyncio.sleep(0)
            seq = rows[-1].seq + rows[-1].count - 1
        return state


def _message(node: NodeExplanation) -> pb.NodeExplanation:
    return pb.NodeExplanation(
        node_id=node.node_id,
        block_id=node.block_id,
        summary=node.summary,
        firings=[
            pb.FiringCount(status=int(status), count=count)  # type: ignore[arg-type]  # same numbers
            for status, count in node.firings.items()
        ],
        pins=map(_pin, node.pins),
    )


def _pin(pin: PinExplanation) -> pb.PinExplanation:
    return pb.PinExplanation(
        pin=pin.pin,
        is_required=pin.is_required,
        sources=[
            pb.PinSource(node_id=source.node_id, pin=source.pin, firing_count=source.firing_count, value_count=source.value_count)
            for source in pin.sources
        ],
        constant=pin.constant,
        received_count=pin.received_count,
        waiting_count=pin.waiting_count,
        waiting_values=pin.waiting_values,
        misfits=pin.misfits,
        is_static=pin.is_static,
    )


def _leave_values_out(message: pb.NodeExplanation) -> None:
    for pin in message.pins:
        pin.ClearField("waiting_values")
        pin.ClearField("constant")
        del pin.misfits[1:]
