"""Commands that are the processes of the mesh themselves; what containers run."""

from typing import Annotated

import typer

from mesh.cli.output import CliError, Exit
from mesh.local import process

_ALL = "all"
# What `all` leaves out: these have commands and processes of their own.
_APART = {"worker", "gateway"}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (serve, worker, gateway, migrate):
        app.command()(command)


def serve(services: Annotated[list[str], typer.Argument(help="Names of services, or `all`.", metavar="SERVICE...")]) -> None:
    """Serves services in this process until SIGTERM. Settings come from TREADLE_*."""
    known = process.points()
    names = sorted(set(known) - _APART) if services == [_ALL] else services
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CliError(f"Unknown: {', '.join(unknown)}. Known services: {', '.join(sorted(known))}.", Exit.BAD_INPUT)
    process.serve(names)


def worker() -> None:
    """Runs executions until SIGTERM."""
    process.serve(["worker"])


def gateway() -> None:
    """Serves WebSocket and what spans services until SIGTERM."""
    process.serve(["gateway"])


def migrate() -> None:
    """Brings the database to the schema of this version. Safe to repeat."""
    process.migrate()
