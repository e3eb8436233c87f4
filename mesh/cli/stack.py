"""Commands of the local stack: up, down, status, logs, doctor, token."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import CliError, Exit, note, say, say_json, stderr
from mesh.local.state import StackState, SupervisorLock, live_state


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (up, down, status, logs, doctor, token):
        app.command()(command)


def up(
    home: Home = NO_HOME,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay here; Ctrl-C takes the stack down.")] = False,
    edge_port: Annotated[
        int, typer.Option("--edge-port", min=0, max=65535, help="Port of the edge. [default: 8080 or the next free one]")
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, max=64, help="Workers. [default: one per core, at most 2]")] = 0,
    profile: Annotated[str, typer.Option("--profile", help="solo: all services in one process.")] = "solo",
    llm: Annotated[bool, typer.Option("--llm", help="A local language model beside the stack.")] = False,
    is_json: AsJson = False,
) -> None:
    """Starts the stack in the background unless it runs, and prints a link that signs its owner in, once."""
    from mesh.local import background
    from mesh.local.solo import Options

    if profile != "solo":
        raise CliError(f"The profile {profile!r} is not available; this version runs `solo` only.", Exit.BAD_INPUT)
    if llm:
        raise CliError("--llm is not available: this version brings no language model.", Exit.BAD_INPUT)
    options = Options(home=home, edge_port=edge_port, workers=workers)
    if foreground:
        # No link: what is printed here may well be a service manager's log.
        background.run_here(options, note)
        return
    try:
        state, was_up = background.start(options, lambda line: note(f"  {line}"))
    except KeyboardInterrupt:
        note("It goes on coming up in the background. `treadle status` shows it, `treadle down` ends it.")
        raise
    note(f"The stack is up already, nothing to do: {state.edge_url}" if was_up else f"The stack is up: {state.edge_url}")
    _show_sign_in_link(home)
    if is_json:
        say_json(_status_document(state))


def down(
    home: Home = NO_HOME,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove all data as well.")] = False,
    is_json: AsJson = False,
) -> None:
    """Stops the stack and everything that it started."""
    from mesh.local import background

    stopped = background.stop(home, note)
    note("The stack is down." if stopped else "No stack was running.")
    wiped = wipe and background.wipe(home)
    if wipe:
        note(f"{home} is gone." if wiped else f"There is no {home}.")
    if is_json:
        say_json({"stopped": stopped, "wiped": wiped})


def status(home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Shows the processes of the stack. Exit code 3 when it is not up, 1 when a process is not healthy."""
    home = home.resolve()
    state = live_state(home)
    document = _status_document(state or StackState(home=str(home)))
    if is_json:
        say_json(document)
    elif state is not None:
        _show(document)
    if state is None and not SupervisorLock.is_held(home):
        raise CliError(f"No stack is running in {home}. Start it with `treadle up`.", Exit.UNREACHABLE)
    if state is None or not state.is_ready:
        raise CliError("The stack is coming up or going down.", Exit.UNREACHABLE)
    sick = [process["name"] for process in document["processes"] if not process["healthy"]]
    if sick:
        raise CliError(f"Not healthy: {', '.join(sick)}. `treadle logs {sick[0]}` may say why.", Exit.FAILED)


def logs(
    name: Annotated[str, typer.Argument(help="A process as `treadle status` names it; all when left out.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Lines from the end of each log.")] = 50,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Prints the logs of the stack."""
    from mesh.cli.logs import follow_logs, last_lines, log_files

    if follow and is_json:
        raise CliError("--follow has no end, so it cannot be one JSON document.", Exit.BAD_INPUT)
    files = log_files(home, name)
    if is_json:
        say_json([{"name": file.stem, "lines": last_lines(file, lines)[0]} for file in files])
        return
    positions = {}
    for file in files:
        shown, positions[file] = last_lines(file, lines)
        for line in shown:
            say(line if name else f"{file.stem}: {line}")
    if follow:
        follow_logs(positions, lambda file, line: say(line if name else f"{file.stem}: {line}"))


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
    is_json: AsJson = False,
) -> None:
    """Prints a fresh access token."""
    from mesh.cli.session import Session

    with Session(home) as session:
        fresh = session.fresh_token(user)
    if is_json:
        say_json({"access_token": fresh})
    else:
        say(fresh)


def _show_sign_in_link(home: Path) -> None:
    """For the person who called; a stack that is up is up without it, too."""
    from mesh.cli.session import Session

    try:
        with Session(home) as session:
            link = session.sign_in_link()
    except CliError as error:
        note(f"There is no sign-in link: {error}")
    else:
        note(f"Sign in with a browser, once, within five minutes: {link}")


def _status_document(state: StackState) -> dict[str, Any]:
    keys = ("name", "kind", "pid", "healthy", "restarts", "address")
    processes = [{key: getattr(process, key) for key in keys} for process in state.processes]
    for process, item in zip(processes, state.processes, strict=True):
        # The supervisor looks once a second; here one that has just ended is told at once.
        process["healthy"] = item.healthy and item.is_alive
    return {
        "edge_url": state.edge_url,
        "grpc_target": state.grpc_target,
        "home": state.home,
        "profile": state.profile,
        "processes": processes,
    }


def _show(document: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "pid", "healthy", "restarts", "address"):
        table.add_column(heading, no_wrap=True)
    for process in document["processes"]:
        table.add_row(*("yes" if value is True else "NO" if value is False else str(value) for value in process.values()))
    say(f"REST, WebSocket   {document['edge_url']}")
    say(f"gRPC, gRPC-Web    {document['grpc_target']}")
    say(f"data, logs        {document['home']}  (profile {document['profile']})")
    say("")
    # Rows stay whole in a narrow terminal: a cut address is of no use.
    Console(width=max(stderr.width, 100), soft_wrap=True).print(table)
