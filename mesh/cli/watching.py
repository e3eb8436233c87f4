"""Follows an execution over gRPC: an iterator of its events that survives broken connections, and a live picture of its nodes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from treadle.graph.v1.graph_service_pb2 import Graph

from mesh.cli.output import note, stderr
from mesh.cli.patience import PAUSE_S, Patience
from mesh.cli.session import Session, reason_of, to_cli_error

_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}
_TERMINAL = {pb.EVENT_KIND_EXECUTION_COMPLETED, pb.EVENT_KIND_EXECUTION_FAILED, pb.EVENT_KIND_EXECUTION_TERMINATED}
_REFRESHES_PER_S = 8
# Columns of the terminal: for the name of a node, and for the numbers with the space before each.
_NAME_LEAST, _NAME_MOST, _NUMBERS = 6, 48, 34


def follow(session: Session, execution_id: str) -> Iterator[pb.Event]:
    """All events in order, each once, until the execution ends; goes on after the last seen one when the connection breaks."""
    stub = ExecutionServiceStub(session.channel)
    seen, patience = 0, Patience()
    while True:
        request = pb.WatchExecutionRequest(execution_id=execution_id, after_seq=seen)
        patience.opens()
        try:
            for answer in stub.WatchExecution(request, metadata=session.metadata):
                seen = answer.event.seq
                patience.hears()
                yield answer.event
                if answer.event.kind in _TERMINAL:
                    return
        except grpc.RpcError as error:
            if not patience.tries_again(reason=reason_of(error), is_passing=error.code() in _PASSING):
                raise to_cli_error(error) from error
        else:
            time.sleep(PAUSE_S)


@dataclass(slots=True)
class NodeTally:
    """What a node has done so far."""

    label: str
    running: int = 0
    completed: int = 0
    failed: int = 0
    outputs: int = 0
    error: str = ""


@dataclass(slots=True)
class Picture:
    """The state of a run as its events tell it."""

    nodes: dict[str, NodeTally]
    order: list[str] = field(default_factory=list)

    def take(self, event: pb.Event) -> None:
        """Counts an event."""
        if not event.node_id:
            return
        tally = self.nodes.setdefault(event.node_id, NodeTally(event.node_id))
        if event.node_id not in self.order:
            self.order.append(event.node_id)
        if event.kind == pb.EVENT_KIND_NODE_STARTED:
            # A later attempt is the same firing.
            tally.running += event.ordinal == 0
        elif event.kind == pb.EVENT_KIND_NODE_OUTPUT:
            tally.outputs += 1
        elif event.kind == pb.EVENT_KIND_NODE_COMPLETED:
            tally.completed += 1
            tally.running = max(0, tally.running - 1)
        elif event.kind == pb.EVENT_KIND_NODE_FAILED:
            tally.failed += 1
            tally.running = max(0, tally.running - 1)
            tally.error = event.error

    @property
    def reached(self) -> int:
        """Nodes that have ended at least one firing."""
        return sum(1 for tally in self.nodes.values() if tally.completed or tally.failed)

    def table(self, width: int) -> Table:
        """One line per node, in the order in which they first fired, for a terminal of so many columns."""
        table = Table(box=None, pad_edge=False, show_header=bool(self.order))
        # In a narrow terminal the names are cut, never the numbers.
        table.add_column("node", overflow="ellipsis", no_wrap=True, max_width=max(_NAME_LEAST, min(_NAME_MOST, width - _NUMBERS)))
        for heading in ("firings", "running", "failed", "values"):
            table.add_column(heading, justify="right", no_wrap=True)
        for node_id in self.order:
            tally = self.nodes[node_id]
            failed = f"[red]{tally.failed}[/red]" if tally.failed else ""
            table.add_row(_plain(tally.label), str(tally.completed + tally.failed), str(tally.running or ""), failed, str(tally.outputs))
        return table


def watch_live(session: Session, execution_id: str, graph: Graph, names: dict[str, str]) -> pb.Event:
    """Shows a bar and a line per node on stderr until the execution ends. Returns the last event. `names` are blocks by id."""
    picture = Picture({node.id: NodeTally(_label(node.metadata.json, names.get(node.block_id, node.block_id))) for node in graph.nodes})
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("nodes"), TimeElapsedColumn())
    task = bar.add_task(graph.name or "run", total=len(picture.nodes))

    def frame() -> Group:
        bar.update(task, completed=picture.reached)
        return Group(picture.table(stderr.width), bar)

    last = pb.Event()
    with Live(get_renderable=frame, console=stderr, refresh_per_second=_REFRESHES_PER_S):
        for last in follow(session, execution_id):
            picture.take(last)
            if last.kind == pb.EVENT_KIND_EXECUTION_REVIEW:
                note(f"It waits for a decision: treadle executions reviews {execution_id}")
    if not stderr.is_terminal:
        # Only a terminal gets a line end after the last frame.
        stderr.print()
    return last


def _label(metadata: str, block: str) -> str:
    from mesh import jsontext

    try:
        name = jsontext.loads(metadata).get("customized_name") if metadata else None
    except (ValueError, AttributeError):
        name = None
    return f"{name} ({block.removesuffix('Block')})" if name else block


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
