"""`treadle bench`: measures a running stack through its public API."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import CliError, Exit, say, say_json

if TYPE_CHECKING:
    from mesh.cli.load import Job
    from mesh.cli.session import Session
    from mesh.cli.workloads import Workload
    from mesh.local.state import StackState


_POLL_S = 0.05


class Effect(StrEnum):
    """What the nodes of a chain are."""

    PURE = "pure"
    EFFECTFUL = "effectful"


Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Nodes in the chain.")]
Effects = Annotated[Effect, typer.Option("--effect", help="pure, or effectful: each step waits for its commit.")]
Runs = Annotated[int, typer.Option("--runs", min=1, help="Executions in all.")]
InFlight = Annotated[int, typer.Option("--in-flight", min=1, help="Executions at the same time.")]
Users = Annotated[int, typer.Option("--users", min=1, help="Accounts that run them, each with a graph of its own.")]


@dataclass(frozen=True, slots=True)
class _Asked:
    """How to run a workload."""

    runs: int
    in_flight: int
    users: int = 1
    is_timed: bool = False
    is_crash: bool = False


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Measures a running stack through its public API.", no_args_is_help=True)
    for command in (chain, fanout, start, crash, parked):
        group.command()(command)
    app.add_typer(group, name="bench")


def chain(
    nodes: Nodes = 40,
    effect: Effects = Effect.PURE,
    runs: Runs = 300,
    in_flight: InFlight = 32,
    users: Users = 1,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Nodes in a row."""
    from mesh.cli import workloads

    _bench(workloads.chain(nodes, effect), _Asked(runs, in_flight, users), home, is_json)


def fanout(
    width: Annotated[int, typer.Option("--width", min=1, help="Values, each with a firing of its own.")] = 100,
    depth: Annotated[int, typer.Option("--depth", min=1, max=4, help="Generators behind one another.")] = 1,
    runs: Runs = 100,
    in_flight: InFlight = 8,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """One node that emits many values."""
    from mesh.cli import workloads

    _bench(workloads.fanout(width, depth), _Asked(runs, in_flight), home, is_json)


def start(runs: Runs = 100, in_flight: InFlight = 1, home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """A single node: how long until a run has started and ended. One at a time it also says what a subscriber of the WebSocket sees."""
    from mesh.cli import workloads

    _bench(workloads.start(), _Asked(runs, in_flight, is_timed=in_flight == 1), home, is_json)


def crash(
    nodes: Nodes = 40,
    effect: Effects = Effect.EFFECTFUL,
    runs: Runs = 1000,
    in_flight: InFlight = 64,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """A chain during which every worker is killed once: how long its runs stood still. Then all journals are checked."""
    from mesh.cli import workloads

    _bench(workloads.chain(nodes, effect), _Asked(runs, in_flight, is_crash=True), home, is_json)


def parked(runs: Runs = 10_000, in_flight: InFlight = 32, home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Executions that wait for an hour: the memory they cost the stack. They are cancelled afterwards."""
    import uvloop

    from mesh.cli import parked
    from mesh.cli.session import Session

    with Session(home) as session:
        _say(uvloop.run(parked.measure(session, _state(session), runs, in_flight)), is_json)


def _bench(workload: "Workload", asked: _Asked, home: Any, is_json: bool) -> None:
    import uvloop

    from mesh.cli.session import Session

    with Session(home) as session:
        document = uvloop.run(_measure(session, workload, asked))
    _say(document, is_json)
    if document["failed"] or document.get("faults"):
        raise typer.Exit(Exit.FAILED)


def _say(document: dict[str, Any], is_json: bool) -> None:
    if is_json:
        say_json(document)
    else:
        for name, value in document.items():
            say(f"{name:<32} {value}")


async def _measure(session: "Session", workload: "Workload", asked: _Asked) -> dict[str, Any]:
    from mesh.cli import crash, load, usage
    from mesh.cli.accounts import jobs_of

    jobs = jobs_of(session, workload, asked.users)
    last_seqs = [await _warm_up(session.target, job, workload) for job in jobs]
    async with AsyncExitStack() as stack:
        times = None
        if asked.is_timed:
            from mesh.cli.start_times import subscribed

            times = await stack.enter_async_context(subscribed(session.target, jobs[0]))
        state = _state(session)
        cpu_before = usage.cpu_s(state)
        if asked.is_crash:
            killer = crash.Killer(state)
            killing = asyncio.create_task(killer.run())
        # After a crash there are more events than in a quiet run.
        measured = await load.measure(session.target, jobs, asked.runs, asked.in_flight, 0 if asked.is_crash else last_seqs[0])
        used = usage.since(cpu_before, usage.cpu_s(_state(session)))
        document = load.report(workload, asked.runs, measured, used, usage.memory_mb(_state(session)))
    if times is not None:
        document |= times.report(measured.posted)
    if asked.is_crash:
        await killing
        client = load.Client(session.target, jobs[0])
        journals = {item: await client.events(item) for item in measured.posted}
        client.close()
        faults = [fault for item, events in journals.items() for fault in _faults(item, events, workload)]
        document |= {
            "workload": f"crash-{workload.name}",
            "lost": asked.runs - len(measured.posted),
            "recovery_ms": killer.recovery(list(journals.values())),
            "faults": faults[:20],
        }
    return document


async def _warm_up(target: str, job: "Job", workload: "Workload") -> int:
    """One run, which tells how many events a run has. Raises CliError when it does not go as the workload says."""
    from mesh.cli.load import CallError, Client

    client = Client(target, job)
    try:
        execution = await client.get(await client.create(""))
        while not execution.get("end_time"):
            await asyncio.sleep(_POLL_S)
            execution = await client.get(execution["id"])
    except CallError as error:
        raise CliError(f"The workload cannot be run: {error}", Exit.FAILED) from error
    finally:
        client.close()
    count = execution["stats"]["node_count"]
    if count != workload.firings:
        raise CliError(f"The workload did not run as it should: {count} firings, {execution['error']}", Exit.FAILED)
    return int(execution["last_seq"])


def _state(session: "Session") -> "StackState":
    from mesh.local.state import live_state

    state = live_state(session.home)
    if state is None:
        raise CliError("The stack has gone.", Exit.UNREACHABLE)
    return state


def _faults(execution_id: str, events: list[dict[str, Any]], workload: "Workload") -> list[str]:
    """What is wrong with a journal: a gap, a result recorded twice, a firing without an end."""
    faults = []
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        faults.append(f"{execution_id}: seq has a gap")
    results = [(e["node_execution_id"], e["ordinal"]) for e in events if e["kind"] == "EVENT_KIND_NODE_OUTPUT"]
    if len(results) != len(set(results)):
        faults.append(f"{execution_id}: a result is recorded twice")
    ends = [e["node_execution_id"] for e in events if e["kind"] == "EVENT_KIND_NODE_COMPLETED"]
    if len(ends) != workload.firings or len(set(ends)) != workload.firings:
        faults.append(f"{execution_id}: {len(ends)} firings ended, not {workload.firings}")
    return faults
