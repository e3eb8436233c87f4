"""`treadle bench`: measures a running stack through its public API."""

import asyncio
import os
import signal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import CliError, Exit, note, say, say_json

if TYPE_CHECKING:
    from mesh.cli.load import Client
    from mesh.cli.session import Session
    from mesh.cli.workloads import Workload
    from mesh.local.state import StackState

_KILL_AFTER_S = 0.5


class Effect(StrEnum):
    """What the nodes of a chain are."""

    PURE = "pure"
    EFFECTFUL = "effectful"


Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Nodes in the chain.")]
Effects = Annotated[Effect, typer.Option("--effect", help="pure, or effectful: each step waits for its commit.")]
Runs = Annotated[int, typer.Option("--runs", min=1, help="Executions in all.")]
InFlight = Annotated[int, typer.Option("--in-flight", min=1, help="Executions at the same time.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Measures a running stack through its public API.", no_args_is_help=True)
    for command in (chain, fanout, start, crash):
        group.command()(command)
    app.add_typer(group, name="bench")


def chain(
    nodes: Nodes = 40,
    effect: Effects = Effect.PURE,
    runs: Runs = 300,
    in_flight: InFlight = 32,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Nodes in a row."""
    from mesh.cli import workloads

    _bench(workloads.chain(nodes, effect), runs, in_flight, home, is_json)


def fanout(
    width: Annotated[int, typer.Option("--width", min=1, help="Values, each with a firing of its own.")] = 100,
    runs: Runs = 100,
    in_flight: InFlight = 8,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """One node that emits many values."""
    from mesh.cli import workloads

    _bench(workloads.fanout(width), runs, in_flight, home, is_json)


def start(runs: Runs = 100, in_flight: InFlight = 1, home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """A single node: how long until a run has started and ended."""
    from mesh.cli import workloads

    _bench(workloads.start(), runs, in_flight, home, is_json)


def crash(
    nodes: Nodes = 40,
    effect: Effects = Effect.EFFECTFUL,
    runs: Runs = 50,
    in_flight: InFlight = 50,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """A chain during which every worker is killed once; then all journals are checked."""
    from mesh.cli import workloads

    _bench(workloads.chain(nodes, effect), runs, in_flight, home, is_json, is_crash=True)


def _bench(workload: "Workload", runs: int, in_flight: int, home: Any, is_json: bool, is_crash: bool = False) -> None:
    from mesh.cli.session import Session

    with Session(home) as session:
        document = asyncio.run(_measure(session, workload, runs, in_flight, is_crash))
    if is_json:
        say_json(document)
    else:
        for name, value in document.items():
            say(f"{name:<22} {value}")
    if document["failed"] or document.get("faults"):
        raise typer.Exit(Exit.FAILED)


async def _measure(session: "Session", workload: "Workload", runs: int, in_flight: int, is_crash: bool) -> dict[str, Any]:
    from mesh import jsontext
    from mesh.cli import load
    from mesh.cli.rest import Rest

    graph_id = Rest(session).json("POST", "/v1/graphs", jsontext.dumps(workload.graph))["id"]
    async with load.Client(session.target, session.metadata) as client:
        last_seq = await _warm_up(client, graph_id, workload)
        state = _state(session)
        cpu_before = load.stack_cpu_s(state)
        if is_crash:
            killer = asyncio.create_task(_kill_workers(state))
        # After a crash there are more events than in a quiet run.
        measured = await load.measure(client, graph_id, runs, in_flight, 0 if is_crash else last_seq)
        document = load.report(workload, runs, measured, load.stack_cpu_s(state) - cpu_before, load.stack_rss_mb(state))
        if is_crash:
            await killer
            faults = [fault for item in measured.execution_ids for fault in await _faults(client, item, workload)]
            document |= {"workload": f"crash-{workload.name}", "lost": runs - len(measured.execution_ids), "faults": faults[:20]}
    return document


async def _warm_up(client: "Client", graph_id: str, workload: "Workload") -> int:
    """One run, which tells how many events a run has. Raises CliError when it does not go as the workload says."""
    execution_id, is_good = await client.run(graph_id, "", 0)
    execution = await client.get(execution_id)
    if not is_good or execution.stats.node_count != workload.firings:
        raise CliError(f"The workload did not run as it should: {execution.stats.node_count} firings, {execution.error}", Exit.FAILED)
    return execution.last_seq


def _state(session: "Session") -> "StackState":
    from mesh.cli.stack import live_state

    state = live_state(session.home)
    if state is None:
        raise CliError("The stack has gone.", Exit.UNREACHABLE)
    return state


async def _kill_workers(state: "StackState") -> None:
    for process in state.processes:
        if process.kind == "worker":
            await asyncio.sleep(_KILL_AFTER_S)
            note(f"killing {process.name} (pid {process.pid})")
            os.kill(process.pid, signal.SIGKILL)


async def _faults(client: "Client", execution_id: str, workload: "Workload") -> list[str]:
    """What is wrong with a journal: a gap, a result recorded twice, a firing without an end."""
    from treadle.execution.v1 import execution_service_pb2 as pb

    events = await client.events(execution_id)
    faults = []
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        faults.append(f"{execution_id}: seq has a gap")
    results = [(e.node_execution_id, e.ordinal) for e in events if e.kind == pb.EVENT_KIND_NODE_OUTPUT]
    if len(results) != len(set(results)):
        faults.append(f"{execution_id}: a result is recorded twice")
    ends = [e.node_execution_id for e in events if e.kind == pb.EVENT_KIND_NODE_COMPLETED]
    if len(ends) != workload.firings or len(set(ends)) != workload.firings:
        faults.append(f"{execution_id}: {len(ends)} firings ended, not {workload.firings}")
    return faults
