"""`treadle run`: from a file, or the id of a graph, to its outputs."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import CliError, Exit, note, pretty, say

if TYPE_CHECKING:
    from treadle.graph.v1.graph_service_pb2 import Graph

    from mesh.cli.session import Session

_FILE_SUFFIXES = {".json", ".yaml", ".yml"}
_GOOD_OUTCOMES = {"EXECUTION_OUTCOME_SUCCEEDED", "EXECUTION_OUTCOME_NO_OUTPUT"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(run)


def run(
    what: Annotated[str, typer.Argument(metavar="FILE_OR_GRAPH_ID", help="A graph file (JSON or YAML), or the id of a graph.")],
    inputs: Annotated[list[str] | None, typer.Option("-i", "--input", metavar="NAME=VALUE", help="An input; @FILE reads a file.")] = None,
    inputs_file: Annotated[Path | None, typer.Option("--inputs", metavar="FILE.json", help="All inputs as a JSON object.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the execution's id and do not wait for it.")] = False,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Runs a graph, shows it live, prints its outputs. Exit code 1 when it, or one of its nodes, failed."""
    from mesh.cli.inputs import read_inputs
    from mesh.cli.session import Session

    values = read_inputs(inputs or (), inputs_file)
    with Session(home) as session:
        graph_id = _graph_id(session, what)
        graph = _graph(session, graph_id)
        _warn_of_unknown(graph, values)
        execution_id = _create(session, graph_id, values)
        if no_wait:
            say(_final_text(session, execution_id) if is_json else execution_id)
            return
        _watch(session, execution_id, graph)
        text = _final_text(session, execution_id)
        if not is_json:
            _show_outputs(session, text)
    _finish(text, is_json)


def _graph_id(session: "Session", what: str) -> str:
    from mesh.cli.catalogue import graph_of_file

    path = Path(what)
    if path.is_file():
        return graph_of_file(session, path)
    if path.suffix.lower() in _FILE_SUFFIXES or "/" in what:
        raise CliError(f"There is no file {what}.", Exit.BAD_INPUT)
    return what


def _create(session: "Session", graph_id: str, values: dict[str, str]) -> str:
    from treadle.execution.v1 import execution_service_pb2 as pb
    from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
    from treadle.type.v1.json_value_pb2 import JsonValue

    request = pb.CreateExecutionRequest(
        graph_id=graph_id,
        inputs={name: JsonValue(json=value) for name, value in values.items()},
        input_names=values,
        request_id=str(uuid.uuid4()),
    )
    answer = session.call(ExecutionServiceStub(session.channel).CreateExecution, request)
    return str(answer.execution.id)


def _graph(session: "Session", graph_id: str) -> "Graph":
    from treadle.graph.v1.graph_service_pb2 import GetGraphRequest
    from treadle.graph.v1.graph_service_pb2_grpc import GraphServiceStub

    graph: Graph = session.call(GraphServiceStub(session.channel).GetGraph, GetGraphRequest(graph_id=graph_id)).graph
    return graph


def _warn_of_unknown(graph: "Graph", values: dict[str, str]) -> None:
    """The service takes no notice of inputs that a graph does not have; who misspells one wants to know."""
    from mesh.jsontext import loads

    known = list(loads(graph.input_schema.json or "{}").get("properties", {}))
    for name in values:
        if name not in known:
            note(f"Warning: the graph has no input {name!r}; {'it has ' + ', '.join(map(repr, known)) if known else 'it has none'}.")


def _watch(session: "Session", execution_id: str, graph: "Graph") -> None:
    from mesh.cli.catalogue import block_names
    from mesh.cli.watching import watch_live

    names = {block_id: name for name, block_id in block_names(session).items()}
    try:
        watch_live(session, execution_id, graph, names)
    except KeyboardInterrupt:
        note(f"It goes on without you: treadle executions watch {execution_id}")
        raise


def _final_text(session: "Session", execution_id: str) -> str:
    from mesh.cli.rest import Rest

    return Rest(session).text("GET", f"/v1/executions/{execution_id}")


def _finish(text: str, is_json: bool) -> None:
    from mesh.jsontext import loads

    execution = loads(text)
    if is_json:
        say(text)
    else:
        _show_summary(execution)
    stats = execution.get("stats") or {}
    if execution["outcome"] not in _GOOD_OUTCOMES or stats.get("node_error_count"):
        raise typer.Exit(Exit.FAILED)


def _show_outputs(session: "Session", text: str) -> None:
    from mesh.cli.rest import Rest
    from mesh.jsontext import loads

    execution = loads(text)
    for name, values in execution["outputs"].items():
        _show_output(name, values)
    for name, long in execution["output_refs"].items():
        for ref in long["parts"]:
            _show_output(name, Rest(session).json("GET", f"/v1/executions/{execution['id']}/values/{ref['sha256']}"))


def _show_output(name: str, values: list[Any]) -> None:
    for value in values:
        text = value if isinstance(value, str) else pretty(value)
        say(f"{name}:\n{text}" if "\n" in text else f"{name}: {text}")


def _show_summary(execution: dict[str, Any]) -> None:
    stats = execution.get("stats") or {}
    outcome = execution["outcome"].removeprefix("EXECUTION_OUTCOME_").lower().replace("_", " ")
    parts = [f"{stats.get('node_count', 0)} firings", f"{stats.get('duration_s', 0):.2f} s"]
    if stats.get("node_error_count"):
        parts.insert(1, f"{stats['node_error_count']} failed")
    note(f"{execution['id']}: {outcome} ({', '.join(parts)})")
    if execution.get("error"):
        note(execution["error"])
