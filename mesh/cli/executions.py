"""`treadle executions`: get, list, events, watch, cancel, retry, explain, and the reviews."""

from typing import Annotated, Any

import typer

from mesh.cli import reviews
from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import say, say_json
from mesh.jsontext import loads

ExecutionId = Annotated[str, typer.Argument(help="Id of the execution.")]
AfterSeq = Annotated[int, typer.Option("--after-seq", min=0, help="Only events with a greater seq.")]
_EVENTS_PAGE = 1000


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Executions: look at them, stop, answer, retry and explain them.", no_args_is_help=True)
    group.command("get")(get_execution)
    group.command("list")(list_executions)
    group.command("events")(list_events)
    group.command("watch")(watch_execution)
    group.command("cancel")(cancel_execution)
    group.command("retry")(retry_execution)
    group.command("explain")(explain_execution)
    reviews.register(group)
    app.add_typer(group, name="executions")


def get_execution(execution_id: ExecutionId, home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Shows an execution."""
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        text = Rest(session).text("GET", f"/v1/executions/{execution_id}")
    if is_json:
        say(text)
    else:
        say_json(loads(text))


def list_executions(
    graph: Annotated[str, typer.Option("--graph", help="Only of this graph.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many, newest first.")] = 50,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Lists your executions, newest first."""
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        answer = Rest(session).json("GET", "/v1/executions", graph_id=graph, page_size=limit)
    if is_json:
        say_json(answer)
        return
    for execution in answer["executions"]:
        status = execution["status"].removeprefix("EXECUTION_STATUS_")
        outcome = execution["outcome"].removeprefix("EXECUTION_OUTCOME_")
        say(f"{execution['id']}  {status:<10} {outcome:<22} {execution['create_time']}")


def list_events(execution_id: ExecutionId, after_seq: AfterSeq = 0, home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Prints the events so far, one JSON object a line; with --json as one document."""
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    events, page = [], ""
    with Session(home) as session:
        while True:
            path = f"/v1/executions/{execution_id}/events"
            answer = Rest(session).json("GET", path, after_seq=after_seq, page_size=_EVENTS_PAGE, page_token=page)
            events += answer["events"]
            page = answer.get("next_page_token", "")
            if not page:
                break
    if is_json:
        say_json({"events": events})
        return
    from mesh.jsontext import dumps

    for event in events:
        say(dumps(event))


def watch_execution(
    execution_id: ExecutionId,
    after_seq: AfterSeq = 0,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Prints the events as they come, one JSON object a line, until the execution ends; with --json as one document at the end."""
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        lines = Rest(session).events(execution_id, after_seq)
        if is_json:
            say_json({"events": [loads(line) for line in lines]})
            return
        for line in lines:
            say(line)


def cancel_execution(execution_id: ExecutionId, home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Stops an execution."""
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        text = Rest(session).text("POST", f"/v1/executions/{execution_id}:cancel", "{}")
    say(text if is_json else loads(text)["status"])


def retry_execution(
    execution_id: ExecutionId,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Do not run blocks with an effect for real.")] = False,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Runs an execution again as a new one, without repeating what it completed. Prints the new one's id."""
    import uuid

    from mesh.cli.rest import Rest
    from mesh.cli.session import Session
    from mesh.jsontext import dumps

    body = dumps({"request_id": str(uuid.uuid4()), "dry_run": is_dry})
    with Session(home) as session:
        text = Rest(session).text("POST", f"/v1/executions/{execution_id}:retry", body)
    say(text if is_json else loads(text)["id"])


def explain_execution(
    execution_id: ExecutionId,
    node_id: Annotated[str, typer.Option("--node", help="Only this node.")] = "",
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Says why each node fired as often as it did, or did not."""
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        answer = Rest(session).json("GET", f"/v1/executions/{execution_id}:explain", node_id=node_id)
    if is_json:
        say_json(answer)
        return
    for node in answer["nodes"]:
        say(f"{node['node_id']}: {node['summary']}")
        for pin in node["pins"]:
            say(f"  {pin['pin']}: {_pin(pin)}")
            for misfit in pin["misfits"]:
                say(f"    does not fit: {misfit}")


def _pin(pin: dict[str, Any]) -> str:
    """One pin in a line."""
    parts = []
    if pin["sources"]:
        parts.append(f"{pin['received_count']} from " + ", ".join(f"{item['node_id']}.{item['pin']}" for item in pin["sources"]))
    if pin["waiting_count"]:
        more = ", …" if pin["waiting_count"] > len(pin["waiting_values"]) else ""
        parts.append(f"{pin['waiting_count']} waiting ({', '.join(pin['waiting_values'])}{more})")
    if pin["is_static"]:
        parts.append("static")
    if pin["constant"]:
        parts.append(f"constant {pin['constant']}")
    return "; ".join(parts) or "nothing"
