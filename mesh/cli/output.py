"""What the commands print: results on stdout, everything else on stderr; exit codes."""

import sys
from enum import IntEnum
from typing import Any

import orjson
from rich.console import Console

from mesh import jsontext


class Exit(IntEnum):
    """Exit codes of all commands."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3


class CliError(Exception):
    """Ends the command with a message on stderr and an exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILED, reason: str = "") -> None:
        """`message` is for a person, `reason` the one of the service."""
        super().__init__(message)
        self.code = code
        self.reason = reason


# soft_wrap: paths and ids stay whole, so that they can be copied.
stderr = Console(stderr=True, soft_wrap=True, highlight=False)


def note(line: str) -> None:
    """A line for the person at the terminal."""
    stderr.print(line, markup=False)


def say(text: str) -> None:
    """A line of the result."""
    _Said.anything = True
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Said:
    """Whether the result has been begun."""

    anything = False


def say_error(message: str, code: Exit, *, is_json: bool) -> None:
    """What went wrong, on stderr; with --json also as the one document on stdout, unless the command has printed its own."""
    note(f"Error: {message}")
    if is_json and not _Said.anything:
        say_json({"error": {"message": message, "exit_code": int(code)}})


def say_json(document: Any) -> None:
    """The one JSON document of a command that was asked for JSON."""
    say(pretty(document))


def pretty(value: Any) -> str:
    """JSON for people, integers of any size unharmed."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:
        return jsontext.dumps(value)
