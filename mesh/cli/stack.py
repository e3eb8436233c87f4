"""Commands of the local stack: up, down, status, logs, doctor, token."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import CliError, Exit, note, say, say_json, stderr
from mesh.local.state import StackState, SupervisorLock, read_state

_FOLLOW_POLL_S = 0.2


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (up, down, status, logs, doctor, token):
        app.command()(command)


def up(
    home: Home = NO_HOME,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay here; Ctrl-C takes the stack down.")] = False,
    edge_port: Annotated[int, typer.Option("--edge-port", help="Port of the edge. [default: 8080 or the next free one]")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Workers. [default: one per core, at most 2]")] = 0,
    profile: Annotated[str, typer.Option("--profile", help="solo: all services in one process.")] = "solo",
    llm: Annotated[bool, typer.Option("--llm", help="A local language model beside the stack.")] = False,
    is_json: AsJson = False,
) -> None:
    """Starts the stack in the background. Does nothing when it runs."""
    from mesh.local import background
    from mesh.local.solo import Options
    from mesh.local.supervisor import run_supervisor

    if profile != "solo":
        raise CliError(f"The profile {profile!r} is not available; this version runs `solo` only.", Exit.BAD_INPUT)
    if llm:
        raise CliError("--llm is not available: this version brings no language model.", Exit.BAD_INPUT)
    options = Options(home=home, edge_port=edge_port, workers=workers)
    if foreground:
        background.check_machine(home)
        run_supervisor(options, note)
        return
    was_up = SupervisorLock.is_held(home.resolve())
    state = background.start(options, lambda line: note(f"  {line}"))
    note(f"The stack {'is up already' if was_up else 'is up'}: {state.edge_url}")
    if is_json:
        say_json(_status_document(state))


def down(
    home: Home = NO_HOME,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove all data as well.")] = False,
) -> None:
    """Stops the stack and everything that it started."""
    from mesh.local import background

    stopped = background.stop(home, note)
    note("The stack is down." if stopped else "No stack was running.")
    if wipe:
        background.wipe(home)
        note(f"{home} is gone.")


def status(home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Shows the processes of the stack. Exit code 3 when it is not up, 1 when a process is not healthy."""
    state = live_state(home)
    if is_json:
        say_json(_status_document(state or StackState(home=str(home.resolve()))))
    if state is None:
        raise CliError("The stack is not running. Start it with `treadle up`.", Exit.UNREACHABLE)
    document = _status_document(state)
    if not is_json:
        _show(document)
    if not all(process["healthy"] for process in document["processes"]):
        raise typer.Exit(Exit.FAILED)


def logs(
    name: Annotated[str, typer.Argument(help="A process as `treadle status` names it; all when left out.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", help="Lines from the end of each log.")] = 50,
    home: Home = NO_HOME,
) -> None:
    """Prints the logs of the stack."""
    folder = home / "logs"
    files = [folder / f"{name}.log"] if name else sorted(folder.glob("*.log"))
    if not files or not all(file.exists() for file in files):
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "none"
        raise CliError(f"There is no such log in {folder}. Known: {known}.", Exit.BAD_INPUT)
    positions = {file: _print_end(file, lines, prefix="" if name else f"{file.stem}: ") for file in files}
    while follow:
        time.sleep(_FOLLOW_POLL_S)
        for file, position in positions.items():
            with file.open(errors="replace") as log:
                log.seek(position)
                for line in log:
                    say(("" if name else f"{file.stem}: ") + line.rstrip("\n"))
                positions[file] = log.tell()


def doctor(home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Checks the machine: programs, disk, ports, rights. Exit code 1 when something is wrong."""
    from mesh.local.doctor import examine

    findings = examine(home)
    if is_json:
        say_json([{"name": item.name, "is_ok": item.is_ok, "message": item.message} for item in findings])
    else:
        for item in findings:
            say(f"{'ok  ' if item.is_ok else 'FAIL'} {item.name:<12} {item.message}")
    if not all(item.is_ok for item in findings):
        raise typer.Exit(Exit.FAILED)


def token(
    user: Annotated[str, typer.Option("--user", help="E-mail address of a local account. [default: the owner]")] = "",
    home: Home = NO_HOME,
) -> None:
    """Prints a fresh access token."""
    from mesh.cli.session import Session

    with Session(home) as session:
        say(session.fresh_token(user))


def live_state(home: Path) -> StackState | None:
    """The state of the stack while it runs, with dead processes marked so."""
    state = read_state(home.resolve()) if SupervisorLock.is_held(home.resolve()) else None
    if state is not None:
        for process in state.processes:
            process.healthy = process.healthy and process.is_alive
    return state


def _status_document(state: StackState) -> dict[str, Any]:
    keys = ("name", "kind", "pid", "healthy", "restarts", "address")
    return {
        "edge_url": state.edge_url,
        "grpc_target": state.grpc_target,
        "home": state.home,
        "profile": state.profile,
        "processes": [{key: getattr(process, key) for key in keys} for process in state.processes],
    }


def _show(document: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "pid", "healthy", "restarts", "address"):
        table.add_column(heading)
    for process in document["processes"]:
        table.add_row(*("yes" if value is True else "NO" if value is False else str(value) for value in process.values()))
    say(f"{document['edge_url']}  ({document['home']}, profile {document['profile']})")
    Console(width=max(stderr.width, 100)).print(table)


def _print_end(file: Path, lines: int, prefix: str) -> int:
    with file.open(errors="replace") as log:
        for line in log.read().splitlines()[-lines:]:
            say(prefix + line)
        return log.tell()
