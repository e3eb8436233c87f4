"""Entry point of `treadle`. Commands import what they need when they run, so that `--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mesh.cli import bench, executions, graphs, keys, limits, processes, run, stack
from mesh.cli.options import DEFAULT_HOME, common
from mesh.cli.output import CliError, Exit, say_error, say_json
from mesh.local.errors import LocalError

# As shells have it: 128 and the number of SIGINT.
_INTERRUPTED = 130

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
    home: Annotated[Path, typer.Option("--home", help="Data directory of the stack.", readable=False)] = DEFAULT_HOME,
    is_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    common.home = home
    common.is_json = is_json


stack.register(app)
run.register(app)
graphs.register(app)
executions.register(app)
keys.register(app)
limits.register(app)
bench.register(app)
processes.register(app)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else Exit.OK)
    except CliError as error:
        _fail(str(error), error.code)
    except LocalError as error:
        _fail(str(error), Exit.UNREACHABLE)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.FAILED)
    except OSError as error:
        # The disk, or rights on it: nothing that a traceback would explain better.
        _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error), Exit.FAILED)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    except Exception as error:
        # Usage errors know how to show themselves.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        if "--json" in sys.argv:
            say_json({"error": {"message": error.format_message(), "exit_code": int(Exit.BAD_INPUT)}})  # type: ignore[attr-defined]
        sys.exit(Exit.BAD_INPUT)


def _fail(message: str, code: Exit) -> NoReturn:
    say_error(message, code, is_json=common.is_json)
    sys.exit(code)


if __name__ == "__main__":
    main()
