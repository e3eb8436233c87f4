"""`treadle graphs`: import, export, list, validate."""

from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import CliError, Exit, note, say, say_json

File = Annotated[Path, typer.Argument(help="A graph: Treadle or AutoGPT JSON, or Treadle YAML.", metavar="FILE")]
_PAGE_SIZE = 200


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Graphs: import, export, list, validate.", no_args_is_help=True)
    group.command("import")(import_graph)
    group.command("export")(export_graph)
    group.command("list")(list_graphs)
    group.command("validate")(validate_graph)
    app.add_typer(group, name="graphs")


def import_graph(file: File, home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Imports a graph and prints its id."""
    from mesh.cli.catalogue import import_text, load, show_changes, show_gaps
    from mesh.cli.session import Session
    from mesh.jsontext import loads

    with Session(home) as session:
        answer = import_text(session, load(session, file))
    document = loads(answer)
    if is_json:
        say(answer)
        return
    show_gaps(document["report"])
    show_changes(document["report"])
    note(f"{document['graph']['name']}, version {document['graph']['version']}")
    say(document["graph"]["id"])


def export_graph(
    graph_id: Annotated[str, typer.Argument(help="Id of the graph.")],
    version: Annotated[int, typer.Option("--version", help="A version. [default: the active one]")] = 0,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Prints a graph as a document that can be imported elsewhere."""
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        say_json(Rest(session).json("GET", f"/v1/graphs/{graph_id}:export", version=version))


def list_graphs(home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Lists your graphs."""
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    graphs, page = [], ""
    with Session(home) as session:
        while True:
            answer = Rest(session).json("GET", "/v1/graphs", page_size=_PAGE_SIZE, page_token=page)
            graphs += answer["graphs"]
            page = answer.get("next_page_token", "")
            if not page:
                break
    if is_json:
        say_json({"graphs": graphs})
        return
    for graph in graphs:
        say(f"{graph['id']}  v{graph['version']:<4} {graph['name']}")


def validate_graph(file: File, home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Shows every problem of a graph. Exit code 2 when there is one."""
    from mesh.cli.catalogue import load
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        answer = Rest(session).json("POST", "/v1/graphs:validate", load(session, file))
    if is_json:
        say_json(answer)
    problems = answer["problems"]
    for problem in problems if not is_json else ():
        say(f"{problem['node_id'] or '(graph)'}  {problem['field']}  {problem['message']}")
    if problems:
        raise CliError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}.", Exit.BAD_INPUT)
    note("No problems.")
