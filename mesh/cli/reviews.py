"""`treadle executions reviews|approve|reject`: what an execution asks a person, and the answers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import CliError, Exit, note, pretty, say, say_json

ExecutionId = Annotated[str, typer.Argument(help="Id of the execution.")]
Named = Annotated[
    list[str] | None, typer.Argument(metavar="[NODE_EXECUTION_ID]…", help="The firings that ask; all open ones when none is named.")
]
Message = Annotated[str, typer.Option("--message", "-m", help="A word for the record, and for the agent.")]
_PENDING = "REVIEW_STATUS_PENDING"
_PAGE = 1000


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    group.command("reviews")(list_reviews)
    group.command("approve")(approve)
    group.command("reject")(reject)


def list_reviews(
    execution_id: ExecutionId,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that nobody has decided.")] = False,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Shows what an execution asks, and what was decided."""
    found = _reviews(home, execution_id, _PENDING if is_open else "")
    if is_json:
        say_json({"reviews": found})
        return
    if not found:
        note("It asks nothing." if is_open else "It has asked nothing.")
    for review in found:
        status = review["status"].removeprefix("REVIEW_STATUS_").lower()
        automatic = ", by itself" if review["is_automatic"] else ""
        says = f': "{review["decision_message"]}"' if review["decision_message"] else ""
        say(f"{review['node_execution_id']}  {status}{automatic}{says}")
        say(f"  {review['message']} (node {review['node_id']}{', editable' if review['is_editable'] else ''})")
        say(_indented(pretty(review.get("data"))))
        if review.get("reviewed_data") not in (None, review.get("data")):
            say("  went on with:")
            say(_indented(pretty(review["reviewed_data"])))


def approve(
    execution_id: ExecutionId,
    named: Named = None,
    message: Message = "",
    data: Annotated[str | None, typer.Option("--data", metavar="JSON", help="Other data to go on with; @FILE.json reads a file.")] = None,
    is_always: Annotated[bool, typer.Option("--always", help="Approves later reviews of the same nodes as well.")] = False,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Lets firings that ask go on."""
    decision: dict[str, Any] = {"approved": True, "message": message, "auto_approve_future": is_always}
    if data is not None:
        decision["reviewed_data"] = _data(data)
    _decide(home, execution_id, named or [], decision, is_json)


def reject(execution_id: ExecutionId, named: Named = None, message: Message = "", home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Refuses what firings ask."""
    _decide(home, execution_id, named or [], {"approved": False, "message": message}, is_json)


def _decide(home: Path, execution_id: str, named: list[str], decision: dict[str, Any], is_json: bool) -> None:
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session
    from mesh.jsontext import dumps

    if not named:
        named = [review["node_execution_id"] for review in _reviews(home, execution_id, _PENDING)]
    if not named:
        raise CliError("The execution asks nothing.", Exit.BAD_INPUT)
    if "reviewed_data" in decision and len(named) > 1:
        raise CliError("--data goes with one review: name it.", Exit.BAD_INPUT)
    body = dumps({"reviews": [{"node_execution_id": name, **decision} for name in named]})
    with Session(home) as session:
        answer = Rest(session).json("POST", f"/v1/executions/{execution_id}/reviews", body)
    if is_json:
        say_json(answer)
        return
    for review in answer["reviews"]:
        say(f"{review['node_execution_id']}  {review['status'].removeprefix('REVIEW_STATUS_').lower()}")


def _reviews(home: Path, execution_id: str, status: str) -> list[dict[str, Any]]:
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    found: list[dict[str, Any]] = []
    page = ""
    with Session(home) as session:
        while True:
            path = f"/v1/executions/{execution_id}/reviews"
            answer = Rest(session).json("GET", path, status=status, page_size=_PAGE, page_token=page)
            found += answer["reviews"]
            page = answer["next_page_token"]
            if not page:
                return found


def _data(text: str) -> Any:
    from mesh.cli.inputs import read_inputs
    from mesh.jsontext import loads

    return loads(read_inputs([f"--data={text}"], None)["--data"])


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
