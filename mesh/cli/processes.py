"""Commands that are the processes of the mesh themselves; what the supervisor and containers run."""

import asyncio
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer

from mesh.cli.output import CliError, Exit

_ALL = "all"
# What `all` leaves out: these have commands and processes of their own.
_APART = {"worker", "gateway"}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (serve, worker, gateway, migrate):
        app.command()(command)


def serve(services: Annotated[list[str], typer.Argument(help="Names of services, or `all`.", metavar="SERVICE...")]) -> None:
    """Serves services in this process until SIGTERM. Settings come from TREADLE_*."""
    known = _points()
    names = sorted(set(known) - _APART) if services == [_ALL] else services
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CliError(f"Unknown: {', '.join(unknown)}. Known services: {', '.join(sorted(known))}.", Exit.BAD_INPUT)
    _serve(names)


def worker() -> None:
    """Runs executions until SIGTERM."""
    _serve(["worker"])


def gateway() -> None:
    """Serves WebSocket and what spans services until SIGTERM."""
    _serve(["gateway"])


def migrate() -> None:
    """Brings the database to the schema of this version. Safe to repeat."""
    from mesh.migrate import migrate as run_migrations
    from mesh.settings import Settings

    services: list[Any] = [point.load() for point in _points().values()]
    asyncio.run(run_migrations(Settings(), services))


def _serve(names: list[str]) -> None:
    import uvloop

    from mesh.host import serve as run_host
    from mesh.settings import Settings

    uvloop.run(run_host(names, Settings()))


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="treadle.services")}
