"""A process of the mesh, as the stack starts it: `python -m mesh.local.process NAME…`, or `… migrate`.

The same as `treadle serve`, `worker`, `gateway` and `migrate`, without the libraries of the command line: 5 MB less in each process.
"""

import asyncio
import sys
from importlib.metadata import EntryPoint, entry_points

MIGRATE = "migrate"


def points() -> dict[str, EntryPoint]:
    """What services registered, by name."""
    return {point.name: point for point in entry_points(group="treadle.services")}


def serve(names: list[str]) -> None:
    """Serves in this process until SIGTERM. Settings come from TREADLE_*. Raises LookupError for a name that nobody registered."""
    import uvloop  # noqa: PLC0415 - a migration needs none of it

    from mesh.host import serve as run_host  # noqa: PLC0415
    from mesh.settings import Settings  # noqa: PLC0415

    uvloop.run(run_host(names, Settings()))


def migrate() -> None:
    """Brings the database to the schema of this version. Safe to repeat."""
    from mesh.migrate import migrate as run_migrations  # noqa: PLC0415
    from mesh.settings import Settings  # noqa: PLC0415

    asyncio.run(run_migrations(Settings(), [point.load() for point in points().values()]))


if __name__ == "__main__":
    # structlog loads it where it is installed, for tracebacks in colour that no log file shows: 3 MB.
    sys.modules["rich"] = None  # type: ignore[assignment]
    if sys.argv[1:] == [MIGRATE]:
        migrate()
    else:
        serve(sys.argv[1:])
