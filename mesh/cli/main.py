"""Entry point of `treadle`. Commands import what they need when they run, so that `--help` answers at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli import bench, executions, graphs, processes, run, stack
from mesh.cli.options import DEFAULT_HOME, common
from mesh.cli.output import CliError, Exit, note
from mesh.local.errors import LocalError

app = typer.Typer(
    name="treadle",
    help="Build, run and watch AI agents on a local stack of real servers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    home: Annotated[Path, typer.Option("--home", help="Data directory of the stack.")] = DEFAULT_HOME,
    is_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    common.home = home
    common.is_json = is_json


stack.register(app)
run.register(app)
graphs.register(app)
executions.register(app)
bench.register(app)
processes.register(app)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else Exit.OK)
    except CliError as error:
        note(f"Error: {error}")
        sys.exit(error.code)
    except LocalError as error:
        note(f"Error: {error}")
        sys.exit(Exit.UNREACHABLE)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # Usage errors know how to show themselves.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(Exit.BAD_INPUT)


if __name__ == "__main__":
    main()
